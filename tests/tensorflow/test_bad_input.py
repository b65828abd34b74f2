"""What users get wrong with TensorFlow models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tests.bad_input import CLASSES, FEATURES, BadInput


class Affine(tf.Module):
    def __init__(self, inputs: int, outputs: int, name: str) -> None:
        super().__init__(name)
        self.weights = tf.Variable(tf.random.stateless_normal((inputs, outputs), (1, outputs)) / 2)

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return x @ self.weights + 0.1


class Net(tf.Module):
    def __init__(self, on_call: Callable[[], None]) -> None:
        super().__init__()
        self.hidden, self.head = Affine(FEATURES, 8, "hidden"), Affine(8, CLASSES, "head")
        self.on_call = on_call

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        hidden = tf.nn.relu(self.hidden(x))
        self.on_call()
        return self.head(hidden)


class TestBadInput(BadInput):
    framework = "tensorflow"
    layer = "hidden"
    interrupted_at = (1, 2)

    def net(self, on_call: Callable[[], None] = lambda: None) -> Net:
        return Net(on_call)

    def in_training(self) -> None:
        return None

    def state(self, model: Net) -> Any:
        return (
            [v.numpy().tobytes() for v in model.variables],
            [(type(m), sorted(vars(m)), "__call__" in vars(type(m))) for m in (model, *model.submodules)],
            Net.__call__, Affine.__call__, tf.config.functions_run_eagerly(), tf.executing_eagerly(),
        )  # fmt: skip
