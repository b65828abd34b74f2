"""Rules of LRP by position and by layer on Keras models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import whence
from tests.lrp_padding import Padded
from tests.lrp_rules import Placed


class Net(keras.Model):
    def __init__(self) -> None:
        super().__init__(dtype="float64")

        def dense(name: str, seed: int) -> keras.layers.Layer:
            init = keras.initializers.GlorotUniform(seed)
            return keras.layers.Dense(4, use_bias=False, name=name, dtype="float64", kernel_initializer=init)

        self.a, self.c = dense("a", 1), dense("c", 3)
        self.b = keras.Sequential([keras.layers.ReLU(dtype="float64"), dense("dense", 2)], name="b")

    def call(self, x: Any) -> Any:
        y = self.b(2 * self.a(x)) + x
        return self.c(y) + self.c(x)


class TestPlaced(Placed):
    framework = "tensorflow"

    def model(self) -> keras.Model:
        net = Net()
        net(np.zeros((1, 4)))
        return net

    def weights(self) -> tuple[np.ndarray, ...]:
        net = self.model()
        return tuple(layer.kernel.numpy() for layer in (net.a, net.b.layers[-1], net.c))

    def tensors(self, array: Any) -> Any:
        return tf.constant(array)

    def loop(self, turn: Any, x: Any) -> Any:
        return tf.while_loop(lambda i, _: i < 3, lambda i, h: (i + 1, turn(h)), [tf.constant(0), x])[1]

    def cast(self, x: Any, dtype: str) -> Any:
        return tf.cast(x, dtype)

    def relu(self, x: Any) -> Any:
        return tf.nn.relu(x)


def test_fused_batch_normalisation_is_merged() -> None:
    rng = np.random.default_rng(0)
    x, kernel, bias, head = (rng.normal(size=s).astype("float32") for s in ((2, 5, 5, 3), (3, 3, 3, 4), 4, (4, 3)))
    factor, offset, mean, variance = (rng.uniform(0.5, 1.5, 4).astype("float32") for _ in range(4))

    def fused(x: Any) -> Any:
        z = tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "VALID"), bias)
        options = {"epsilon": 1e-3, "is_training": False}
        z = tf.compat.v1.nn.fused_batch_norm(z, factor, offset, mean, variance, **options)[0]
        return tf.reduce_mean(tf.nn.relu(z), (1, 2)) @ head

    def merged(x: Any) -> Any:
        scale = factor / np.sqrt(variance + 1e-3)
        z = tf.nn.conv2d(x, kernel * scale, 1, "VALID") + ((bias - mean) * scale + offset)
        return tf.reduce_mean(tf.nn.relu(z), (1, 2)) @ head

    method = whence.LRP(composite="alpha_beta")
    one, other = (method.explain(whence.wrap(f, framework="tensorflow"), x, 1).attributions for f in (fused, merged))
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("groups", "filters", "stride"), [(6, 6, 1), (6, 12, 2), (3, 6, 2), (1, 4, 1)])
def test_grouped_convolutions(groups: int, filters: int, stride: int) -> None:
    """TensorFlow has no derivative of them on a CPU."""
    rng = np.random.default_rng(0)
    x, kernel, head = (rng.normal(size=s) for s in ((2, 5, 5, 6), (3, 3, 6 // groups, filters), (filters, 3)))

    def grouped(x: Any) -> Any:
        return tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(x, kernel, stride, "SAME")), (1, 2)) @ head

    def spelled(x: Any) -> Any:
        parts = zip(tf.split(x, groups, 3), np.split(kernel, groups, 3), strict=True)
        z = tf.concat([tf.nn.conv2d(part, own, stride, "SAME") for part, own in parts], 3)
        return tf.reduce_mean(tf.nn.relu(z), (1, 2)) @ head

    for method in (whence.LRP(composite="alpha_beta"), whence.LRP(), whence.DeepLIFT(), whence.GuidedBackprop()):
        one, other = (method.explain(whence.wrap(f, framework="tensorflow"), x, 1) for f in (grouped, spelled))
        np.testing.assert_allclose(one.attributions, other.attributions, rtol=1e-9, atol=1e-12)
    # one operation, not one for each group
    assert whence.LRP().explain(whence.wrap(grouped, framework="tensorflow"), x, 1).provenance.coverage["ruled"] == {
        "Conv2D": 1, "MatMul": 1
    }  # fmt: skip


def test_a_dense_layer_on_tokens() -> None:
    """Keras spells it with reshapes, whose sizes are among the inputs of the product."""
    rng = np.random.default_rng(0)
    x, kernel, bias, head = (rng.normal(size=s).astype("float32") for s in ((2, 5, 4), (4, 6), 6, (6, 3)))
    layer = keras.layers.Dense(6)
    layer.build((None, 5, 4))
    layer.set_weights([kernel, bias])

    def spelled(x: Any) -> Any:
        return tf.reduce_mean(tf.nn.relu(layer(x)), 1) @ head

    def direct(x: Any) -> Any:
        rows = tf.unstack(x, axis=1)
        return sum(tf.nn.relu(row @ kernel + bias) for row in rows) @ head / len(rows)

    for composite in ("epsilon", "gamma", "alpha_beta", "epsilon_plus_flat"):
        method = whence.LRP(composite=composite)
        one, other = (method.explain(whence.wrap(f, framework="tensorflow"), x, 1) for f in (spelled, direct))
        np.testing.assert_allclose(one.attributions, other.attributions, rtol=1e-4, atol=1e-5)


class TestPadded(Padded):
    framework = "tensorflow"

    def tensors(self, array: Any) -> Any:
        return tf.constant(array, tf.float64)

    def pad(self, x: Any, widths: Sequence[tuple[int, int]], value: float = 0.0) -> Any:
        kept = tuple(slice(max(-before, 0), min(after, 0) or None) for before, after in widths)
        return tf.pad(x, [(max(before, 0), max(after, 0)) for before, after in widths], constant_values=value)[kept]

    def reflect(self, x: Any) -> Any:
        return tf.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), "REFLECT")

    def conv(self, x: Any, kernel: Any, padding: int) -> Any:
        return tf.nn.conv2d(x, kernel, 2, [(0, 0), (padding, padding), (padding, padding), (0, 0)])

    def transpose(self, x: Any, axes: Sequence[int]) -> Any:
        return tf.transpose(x, axes)

    def relu_mean(self, x: Any) -> Any:
        return tf.reduce_mean(tf.nn.relu(x), (1, 2))

    def layers(self, kernel: Any, head: Any) -> keras.Model:
        own = {"use_bias": False, "dtype": "float64"}
        net = keras.Sequential([
            keras.Input((5, 6, 3), dtype="float64"),
            keras.layers.ZeroPadding2D(1, name="pad", dtype="float64"),
            keras.layers.Conv2D(4, 3, 2, name="conv", **own),
            keras.layers.ReLU(dtype="float64"),
            keras.layers.GlobalAveragePooling2D(dtype="float64"),
            keras.layers.Dense(2, **own),
        ])  # fmt: skip
        net.layers[1].set_weights([kernel])
        net.layers[-1].set_weights([head])
        return net
