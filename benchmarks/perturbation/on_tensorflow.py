"""TensorFlow by hand: one ``tf.function`` of a tile of variants, and a Python loop over tiles."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import keras
import numpy as np
import tensorflow as tf

from benchmarks.perturbation.workloads import BATCH, COLUMNS, HIDDEN, TARGET, Workload
from tests.zoo.inputs import inputs, to_channels_last
from tests.zoo.keras_models import build

PACKAGES = ("tensorflow", "keras")
Call = Callable[[], object]


class Case:
    """One workload's model and inputs, and the calls to compare."""

    def __init__(self, workload: Workload) -> None:
        keras.utils.set_random_seed(0)
        self.workload = workload
        if workload.image is None:
            hidden = [keras.layers.Dense(HIDDEN, activation="relu") for _ in range(2)]
            self.model = keras.Sequential([keras.Input((COLUMNS,)), *hidden, keras.layers.Dense(2)])
            x, mask = np.random.default_rng(0).standard_normal((BATCH, COLUMNS)), workload.mask
        else:
            self.model = build("resnet", image=workload.image)
            x, mask = to_channels_last(inputs("resnet", 1, image=workload.image)), workload.mask[..., None]
        self.x, self.mask = tf.constant(x, tf.float32), tf.constant(mask)
        self._tile = tf.function(self._scores, autograph=False)
        self._outputs = tf.function(self.model, autograph=False)

    def _scores(self, keep: tf.Tensor) -> tf.Tensor:
        present = tf.gather(keep, tf.reshape(self.mask, [-1]), axis=1)
        present = tf.reshape(present, [keep.shape[0], 1, *self.mask.shape])
        points = tf.where(present, self.x, tf.zeros((), self.x.dtype))
        outputs = self.model(tf.reshape(points, [-1, *self.x.shape[1:]]))
        return tf.reshape(outputs[:, TARGET], [keep.shape[0], self.x.shape[0]])

    def floor(self, rows: int) -> Call:
        """The scores of all variants by hand, ``rows`` at a time."""
        return partial(self._floor, self.workload.steps(rows, len(self.x)))

    def _floor(self, parts: list[np.ndarray]) -> np.ndarray:
        keep, scores = self.workload.keep, []
        for part in parts:
            padded = np.concatenate(
                [part, np.repeat(part[-1:], len(parts[0]) - len(part), axis=0)]
            )  # one shape to trace
            scores.append(self._tile(tf.constant(padded))[: len(part)])
        found = tf.concat(scores, 0).numpy()
        return np.linalg.lstsq(keep.astype(found.dtype), found)[0] if self.workload.solve else found

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Outputs of rows as arrays."""
        return np.asarray(self._outputs(tf.constant(rows)).numpy())

    def others(self) -> dict[str, Call]:
        """No other library perturbs inputs of TensorFlow models but as functions on arrays."""
        return {}
