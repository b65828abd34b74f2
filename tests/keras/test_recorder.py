"""Maps recorded by a callback of Keras' fit."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

import whence


def test_fit_records_each_epoch(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((16, 8, 8, 1)).astype(np.float32), np.array([0, 1] * 8)
    model = keras.Sequential([
        keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, activation="relu", name="conv"), keras.layers.Flatten(),
        keras.layers.Dense(2),
    ])  # fmt: skip
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    kept = whence.Recorder(whence.GradCAM(layer="conv"), x[:2], [0, 1], folder=tmp_path, every=2, pictures=False)
    model.fit(x, y, epochs=4, verbose=0, callbacks=[kept.keras()])
    found = kept.load()
    assert list(found) == [2, 4] and found[4].attributions.shape == (2, 8, 8)
    assert not np.array_equal(found[2].score, found[4].score), "the weights of the moment are explained"
