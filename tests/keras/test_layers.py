"""What docs/guide/layers.md says about Keras, on whichever runtime KERAS_BACKEND names: names, points, errors."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import whence
from whence.errors import LayerError

X = np.random.default_rng(0).normal(size=(2, 5, 5, 3)).astype(np.float32)


def tensor(x: Any) -> Any:
    return keras.ops.convert_to_tensor(x)


def close(found: Any, wanted: Any) -> None:
    found, wanted = (keras.ops.convert_to_numpy(x) for x in (found, wanted))
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def nested() -> keras.Model:
    """A functional model around a nested one that is called twice; activations in layers and layers of activations."""
    image, inner = keras.Input((5, 5, 3)), keras.Input((3, 3, 4))
    block = keras.Model(inner, layers.Conv2D(4, 3, padding="same", activation="tanh", name="conv")(inner), name="block")
    first = layers.Conv2D(4, 3, activation="relu", name="first")(image)
    x = layers.Activation("relu", name="act")(block(layers.Add(name="add")([block(first), first])))
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return keras.Model(image, layers.Dense(3, activation="softmax", name="head")(x))


class Subclassed(keras.Model):
    """Layers in an attribute, a list and a dict; one of them is not called."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.unused = layers.Conv2D(2, 3, activation="relu", name="conv"), layers.Dense(2, name="unused")
        self.blocks, self.parts = [layers.Dense(2, name="block")], {"head": layers.Dense(2, name="head")}
        self(X)

    def call(self, x: Any) -> Any:
        return self.parts["head"](self.blocks[0](keras.ops.mean(self.conv(x), (1, 2))))


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return nested()


def without_activation(layer: Any, x: Any) -> Any:
    kernel, bias = layer.kernel, layer.bias
    if isinstance(layer, layers.Dense):
        return keras.ops.matmul(x, kernel) + bias
    return keras.ops.conv(x, kernel, padding=layer.padding, data_format="channels_last") + bias


def test_activations_are_those_by_hand(model: keras.Model) -> None:
    first, block, head = (model.get_layer(name) for name in ("first", "block", "head"))
    conv, x = block.get_layer("conv"), tensor(X)
    a = first(x)
    b = block(a)
    c = block(a + b)
    mean = keras.ops.mean(keras.ops.relu(c), (1, 2))
    wanted = {
        "first": a, "first:in": x, "first:pre": without_activation(first, x), "block:0": b, "block:1": c,
        "block/conv:in:1": a + b, "block/conv:pre:1": without_activation(conv, a + b), "add": a + b, "act:pre": c,
        "act": keras.ops.relu(c), "head:in": mean, "head:pre": without_activation(head, mean), "head": head(mean),
    }  # fmt: skip
    found = whence.Activations(layers=list(wanted)).explain(model, x).attributions
    for name, value in wanted.items():
        close(found[name], value)
    assert conv.activation is keras.activations.tanh


def test_gradients_of_and_towards_points(model: keras.Model) -> None:
    head = model.get_layer("head")
    logit = whence.Saliency(layer="head:in", neuron=("head:pre", 1)).explain(model, X).attributions
    close(logit, np.tile(keras.ops.convert_to_numpy(head.kernel)[:, 1], (2, 1)))
    mean = whence.Activations(layers="head:in").explain(model, X).attributions["head:in"]
    p = keras.ops.convert_to_numpy(head(tensor(mean)))
    towards = whence.Saliency(layer="head:pre").explain(model, X, 1).attributions
    close(towards, p[:, 1:2] * (np.eye(3, dtype=np.float32)[1] - p))


def test_names_of_a_subclassed_model() -> None:
    model = Subclassed()
    found = whence.Activations(layers=["conv:pre", "conv", "block:in", "head"]).explain(model, X).attributions
    close(found["conv"], np.maximum(found["conv:pre"], 0))
    close(found["block:in"], found["conv"].mean((1, 2)))
    close(found["head"], model(X))
    assert set(whence.wrap(model).layers()) == {"conv", "unused", "block", "head"}


@pytest.mark.parametrize(("name", "message"), [
    ("add:in", "takes several tensors.*single input"),
    ("mean:pre", "activation of its own.*'mean', its output"),
    ("block", "block:0, block:1"),
    ("block/conv:pre", "block/conv:pre:0, block/conv:pre:1"),
    ("block/con", "nearest names: block/conv"),
])  # fmt: skip
def test_errors_where_there_is_no_access(model: keras.Model, name: str, message: str) -> None:
    for method in (whence.Activations(layers=name), whence.Saliency(layer=name)):
        with pytest.raises(LayerError, match=message):
            method.explain(model, X)


def test_a_layer_that_is_not_called() -> None:
    with pytest.raises(LayerError, match="never calls it from Python"):
        whence.Activations(layers="unused").explain(Subclassed(), X)
