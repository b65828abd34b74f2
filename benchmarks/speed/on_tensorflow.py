"""TensorFlow by hand: one ``tf.function`` of a tile of points, re-used, and a Python loop over tiles."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import keras
import numpy as np
import tensorflow as tf

from benchmarks.speed.workloads import Workload
from tests.zoo.inputs import inputs, to_channels_last
from tests.zoo.keras_models import build

PACKAGES = ("tensorflow", "keras")
Call = Callable[[], object]


class Counter(keras.layers.Layer):
    """The identity; counts how often Python runs it, which a compiled model does only while it is traced."""

    runs = 0

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """The input."""
        type(self).runs += 1
        return tf.identity(x)


class Case:
    """One workload's model and inputs, and the calls to compare."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        network, x = _mlp(workload) if workload.network == "mlp" else _zoo(workload)
        self.x = tf.constant(x)
        self.model = network if workload.layer else keras.Sequential([keras.Input(x.shape[1:]), Counter(), network])
        self.target = np.arange(workload.batch) % 2
        self.index = tf.constant(self.target)
        self.forward, self.values = network, self.x
        if workload.layer:
            self.forward = lambda values: _after_embedding(network, values)
            self.values = network.get_layer(workload.layer)(self.x)
        self._gradient = tf.function(self._gradient_of, autograph=False)
        self._path_tile = tf.function(self._path_sum, autograph=False)
        self._noisy_tile = tf.function(self._noisy_sum, autograph=False)
        self._forward = tf.function(self.forward, autograph=False)

    def floors(self) -> dict[str, Call]:
        """The gradients by hand, by the number of points in one batch."""
        if self.workload.method == "saliency":
            return {"1": lambda: self._gradient(self.values, self.index).numpy()}
        compute = {"integrated_gradients": self._path, "smooth_grad": self._noisy}[self.workload.method]
        return {str(points): partial(compute, points) for points in self.workload.tiles}

    def forward_pass(self) -> None:
        """One forward pass, at a baseline."""
        self._forward(tf.zeros_like(self.values)).numpy()

    def others(self) -> dict[str, Call]:
        """TensorFlow's explainers need other versions than these; MEASURED.md has them."""
        return {}

    def by_rules(self, method: str) -> dict[str, Call]:
        """TensorFlow's explainers need other versions than these."""
        return {}

    def executions(self, call: Call) -> int | None:
        """How often Python runs the model while ``call`` runs."""
        if self.workload.layer:
            return None
        before = Counter.runs
        call()
        return Counter.runs - before

    def _gradient_of(self, rows: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(rows)
            score = tf.gather(self.forward(rows), index, axis=1, batch_dims=1)
        return tape.gradient(score, rows)

    def _sum_of_gradients(self, points: tf.Tensor) -> tf.Tensor:
        shape = tf.shape(points)
        rows = tf.reshape(points, (-1, *points.shape[2:]))
        gradients = self._gradient_of(rows, tf.tile(self.index, shape[:1]))
        return tf.reduce_sum(tf.reshape(gradients, shape), axis=0)

    def _path_sum(self, total: tf.Tensor, x: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
        return total + self._sum_of_gradients(tf.reshape(alpha, (-1, *[1] * len(x.shape))) * x)

    def _noisy_sum(self, total: tf.Tensor, x: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        axes = (1, 2, 3)
        scale = 0.1 * (tf.reduce_max(x, axes, keepdims=True) - tf.reduce_min(x, axes, keepdims=True))
        noise = tf.random.normal(tf.concat([count[None], tf.shape(x)], 0))
        return total + self._sum_of_gradients(tf.ensure_shape(x + scale * noise, (None, *x.shape)))

    def _path(self, points: int) -> np.ndarray:
        steps, total = self.workload.points, tf.zeros_like(self.values)
        alphas = ((np.arange(steps) + 0.5) / steps).astype(np.float32)
        for start in range(0, steps, points):
            total = self._path_tile(total, self.values, tf.constant(alphas[start : start + points]))
        return (self.values * total / steps).numpy()

    def _noisy(self, points: int) -> np.ndarray:
        samples, total = self.workload.points, tf.zeros_like(self.values)
        for start in range(0, samples, points):
            total = self._noisy_tile(total, self.values, tf.constant(min(points, samples - start)))
        return (total / samples).numpy()


def _after_embedding(model: keras.Model, values: tf.Tensor) -> tf.Tensor:
    for layer in model.layers[1:]:
        values = layer(values)
    return values


def _zoo(workload: Workload) -> tuple[keras.Model, np.ndarray]:
    model = build(workload.network, **workload.options)
    return model, to_channels_last(inputs(workload.network, workload.batch, **workload.options))


def _mlp(workload: Workload) -> tuple[keras.Model, np.ndarray]:
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(64, activation="relu") for _ in range(2)]
    model = keras.Sequential([keras.Input((30,)), *hidden, keras.layers.Dense(2)])
    return model, np.random.default_rng(0).standard_normal((workload.batch, 30)).astype(np.float32)
