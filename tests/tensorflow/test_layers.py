"""What docs/guide/layers.md says about TensorFlow: names, points of a layer, errors where there is no access."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import whence
from whence.errors import LayerError


class Dense(tf.Module):
    def __init__(self, inputs: int, outputs: int, seed: int) -> None:
        super().__init__()
        self.w = tf.Variable(tf.random.stateless_normal((inputs, outputs), (seed, 0)))

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return x @ self.w


class Add(tf.Module):
    def __call__(self, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        return a + b


class Net(tf.Module):
    """A layer in a list that is called twice, one of two inputs, one that is not called; the call is compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.blocks, self.add = Dense(3, 4, 0), [Dense(4, 4, 1)], Add()
        self.head, self.unused = Dense(4, 2, 2), Dense(4, 2, 3)

    @tf.function
    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        h = self.blocks[0](tf.nn.relu(self.first(x)))
        return self.head(self.add(h, self.blocks[0](tf.tanh(h))))


class InsideFunction(tf.Module):
    """A layer inside a function that was compiled for itself."""

    def __init__(self) -> None:
        super().__init__()
        self.head = Dense(3, 2, 0)
        self.compiled = tf.function(lambda x: self.head(x))

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return self.compiled(x)


X = tf.random.stateless_normal((5, 3), (1, 1))


def close(found: Any, wanted: Any) -> None:
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_activations_are_those_by_hand() -> None:
    net = Net()
    net(X)  # a finished trace must not hide the layers
    relu = tf.nn.relu(net.first(X))
    h = net.blocks[0](relu)
    again = net.blocks[0](tf.tanh(h))
    wanted = {
        "first": net.first(X), "first:in": X, "blocks.0:0": h, "blocks.0:in:0": relu, "blocks.0:1": again,
        "blocks.0:in:1": tf.tanh(h), "add": h + again, "head:in": h + again, "head": net(X),
    }  # fmt: skip
    found = whence.Activations(layers=list(wanted)).explain(net, X).attributions
    for name, value in wanted.items():
        close(found[name], value)
    gradient = whence.Saliency(layer="blocks.0:in:1").explain(net, X, 1).attributions
    close(gradient, np.tile(net.blocks[0].w.numpy() @ net.head.w.numpy()[:, 1], (5, 1)))


def loaded(folder: Path) -> Any:
    net = Net()
    net(X)
    tf.saved_model.save(net, str(folder))
    return tf.saved_model.load(str(folder))


NOT_CALLED, NO_NAMES = "never calls it from Python", "no layers that can be named"
UNREACHED: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "a SavedModel": (loaded, "head", NO_NAMES),
    "a tf.function": (lambda _: tf.function(Net()), "head", NO_NAMES),
    "a Keras model in a tf.function": (lambda _: tf.function(keras.Sequential([keras.layers.Dense(2)])), "d", NO_NAMES),
    "inside a function compiled for itself": (lambda _: traced(InsideFunction()), "head", NOT_CALLED),
    "a layer that is not called": (lambda _: Net(), "unused", NOT_CALLED),
    "several inputs": (lambda _: Net(), "add:in", "takes several tensors.*single input"),
    "no activation of its own": (lambda _: Net(), "head:pre", "activation of its own.*'head', its output"),
    "of two calls": (lambda _: Net(), "blocks.0:in", r"blocks\.0:in:0, blocks\.0:in:1"),
    "no such layer": (lambda _: Net(), "heat", "nearest names: head"),
}


def traced(model: Any) -> Any:
    model(X)
    return model


@pytest.mark.parametrize("case", UNREACHED)
def test_errors_where_there_is_no_access(case: str, tmp_path: Path) -> None:
    make, name, message = UNREACHED[case]
    model = make(tmp_path)
    with pytest.raises(LayerError, match=message):
        whence.Activations(layers=name).explain(model, X)
    with pytest.raises(LayerError, match=message):
        whence.Saliency(layer=name).explain(model, X, 1)
