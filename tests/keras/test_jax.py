"""Keras models whose runtime is JAX; skipped where Keras runs on another framework."""

from __future__ import annotations

import os

import pytest

if os.environ.get("KERAS_BACKEND") != "jax":
    pytest.skip("needs KERAS_BACKEND=jax", allow_module_level=True)

import jax
import jax.numpy as jnp
import keras
import numpy as np
from keras import layers

import whence
from whence.errors import CoverageError, DTypeError, LayerError
from whence.methods.rules import GUIDED_RELU


def functional() -> keras.Model:
    inner_input = keras.Input((6, 6, 4))
    inner = keras.Model(inner_input, layers.Conv2D(4, 3, name="conv", padding="same")(inner_input), name="block")
    act, image = layers.ReLU(name="act"), keras.Input((6, 6, 3))
    h = act(inner(act(layers.BatchNormalization(name="norm")(layers.Conv2D(4, 1, name="stem")(image)))))
    return keras.Model(image, layers.Dense(5, name="head")(layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(h))))


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.net = functional()

    def call(self, x, training=None):
        return {"logits": self.net(x, training=training)}


@pytest.fixture
def x() -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).standard_normal((4, 6, 6, 3)), "float32")


@pytest.mark.parametrize("nested", [False, True])
def test_layers_taps_edits_and_gradients(nested: bool, x: jax.Array) -> None:
    keras.utils.set_random_seed(0)
    net = Subclassed() if nested else functional()
    model, prefix = whence.wrap(net, output="logits" if nested else None), "functional/" if nested else ""
    inner = net.net if nested else net
    prefix = f"{inner.name}/" if nested else ""
    original = layers.Layer.__call__
    output, tapped = model.run(x, taps=[f"{prefix}block/conv", f"{prefix}act:0"])
    assert jnp.allclose(output, inner(x), atol=1e-6) and tapped[f"{prefix}act:0"].shape == (4, 6, 6, 4)
    assert {f"{prefix}block/conv", f"{prefix}act", f"{prefix}head"} <= set(model.layers())
    edited = model.run(x, edits={f"{prefix}head": lambda y: y + 1})[0]
    assert jnp.allclose(edited, output + 1, atol=1e-6)
    with pytest.raises(LayerError, match=r"act:0, .*act:1"):
        model.run(x, taps=[f"{prefix}act"])
    found = whence.Saliency().explain(model, x, 2).attributions
    assert jnp.allclose(found, jax.grad(lambda x: inner(x)[:, 2].sum())(x), atol=1e-6)
    assert model.layout(4).channel == 3 and layers.Layer.__call__ is original


def test_new_weights_are_seen(x: jax.Array) -> None:
    net = functional()
    first = whence.Saliency().explain(net, x, 2).attributions
    head = net.get_layer("head")
    head.set_weights([2 * w for w in head.get_weights()])
    assert jnp.allclose(whence.Saliency().explain(net, x, 2).attributions, 2 * first, atol=1e-6)


def test_guided_relu(x: jax.Array) -> None:
    model = whence.wrap(functional())
    found = whence.Saliency().explain(model.intercept(GUIDED_RELU), x, 2)
    assert found.provenance.coverage["ruled"] == {"relu": 2}
    assert not jnp.allclose(found.attributions, whence.Saliency().explain(model, x, 2).attributions)
    with pytest.raises(CoverageError):
        whence.Saliency(layer="head").explain(model.intercept(GUIDED_RELU), x, 2)


def test_other_precisions_are_refused(x: jax.Array) -> None:
    with pytest.raises(DTypeError, match="float32"):
        whence.Saliency().explain(functional(), x.astype("float16"), 2)
