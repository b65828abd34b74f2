"""TensorFlow by hand: the Keras model in two pieces, each a ``tf.function``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import keras
import numpy as np
import tensorflow as tf

from benchmarks.maps.workloads import EPSILON, IMAGE, TARGET, Workload
from tests.zoo.inputs import inputs, to_channels_last
from tests.zoo.keras_models import build

PACKAGES = ("tensorflow", "keras")
Call = Callable[[], object]


class Case:
    """One workload's model and inputs, and the calls to compare."""

    def __init__(self, workload: Workload) -> None:
        self.workload, self.layer = workload, f"stage{workload.stage}_1"
        self.model = build("resnet", image=IMAGE)
        self.x = tf.constant(to_channels_last(inputs("resnet", workload.batch, image=IMAGE)))
        layers = self.model.layers[1:]
        cut = [layer.name for layer in layers].index(self.layer) + 1
        front, tail = keras.Sequential(layers[:cut]), keras.Sequential(layers[cut:])

        def grad_cam(x: tf.Tensor) -> tf.Tensor:
            a = front(x)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(a)
                score = tail(a)[:, TARGET]
            g = tape.gradient(score, a)
            return tf.reduce_sum(tf.reduce_mean(g, (1, 2), keepdims=True) * a, -1)

        def masked(x: tf.Tensor, maps: tf.Tensor) -> tf.Tensor:
            mask = tf.image.resize(maps[..., None], (IMAGE, IMAGE))
            mask = mask - tf.reduce_min(mask, (1, 2), keepdims=True)
            mask = mask / tf.maximum(tf.reduce_max(mask, (1, 2), keepdims=True), EPSILON)
            return self.model(x * mask)[:, TARGET]

        self._grad_cam, self._front = tf.function(grad_cam), tf.function(front)
        self._masked, self._tail = tf.function(masked), tf.function(lambda a: tail(a)[:, TARGET])
        self._ablated = tf.function(lambda a, keep: tail(a * keep)[:, TARGET])

    def floors(self) -> dict[str, Call]:
        """The passes by hand, by rows in one batch."""
        if self.workload.method == "grad_cam":
            return {"1": lambda: self._grad_cam(self.x).numpy()}
        by_hand = {"score_cam": self._score_cam, "ablation_cam": self._ablation_cam}[self.workload.method]
        return {str(rows): partial(by_hand, rows) for rows in self.workload.floor_rows}

    def others(self) -> dict[str, Call]:
        """TensorFlow's explainers need other versions than these."""
        return {}

    def executions(self, call: Call) -> None:
        """Counted by the benchmark of gradients."""
        return None

    def _score_cam(self, rows: int) -> np.ndarray:
        a = self._front(self.x)
        maps = tf.transpose(a[0], (2, 0, 1))
        parts = [self._masked(self.x, maps[k : k + rows]) for k in range(0, maps.shape[0], rows)]
        return tf.einsum("k,hwk->hw", tf.concat(parts, 0), a[0])[None].numpy()

    def _ablation_cam(self, rows: int) -> np.ndarray:
        a = self._front(self.x)
        score, keep = self._tail(a)[0], tf.constant((1 - np.eye(a.shape[-1], dtype=np.float32))[:, None, None])
        parts = [self._ablated(a, keep[k : k + rows]) for k in range(0, a.shape[-1], rows)]
        return tf.einsum("k,hwk->hw", (score - tf.concat(parts, 0)) / tf.abs(score), a[0])[None].numpy()
