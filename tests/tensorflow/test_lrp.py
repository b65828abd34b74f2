"""Rules of LRP by position and by layer on Keras models."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

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

    def relu(self, x: Any) -> Any:
        return tf.nn.relu(x)
