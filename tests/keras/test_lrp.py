"""Keras layers that pad, under LRP's rules for first layers, on whichever runtime KERAS_BACKEND names."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import whence
from whence.core.rule import is_first
from whence.methods.lrp_input_rules import WSquare

DTYPE, ROUNDING = ("float64", 1e-12) if keras.backend.backend() == "tensorflow" else ("float32", 1e-5)
"""Keras computes float64 in float32 on JAX and PyTorch (keras-team/keras issue 23704)."""
RNG = np.random.default_rng(0)
X, KERNEL, HEAD = (RNG.normal(size=s).astype(DTYPE) for s in ((2, 6, 6, 3), (3, 3, 3, 4), (4, 5)))


def net(*before: layers.Layer, **conv: Any) -> keras.Model:
    head = layers.Dense(5, use_bias=False, dtype=DTYPE)
    first = layers.Conv2D(4, 3, use_bias=False, dtype=DTYPE, name="conv", **conv)
    after = (layers.ReLU(dtype=DTYPE), layers.GlobalAveragePooling2D(dtype=DTYPE), head)
    model = keras.Sequential([keras.Input((6, 6, 3), dtype=DTYPE), *before, first, *after])
    first.set_weights([KERNEL])
    head.set_weights([HEAD])
    return model


@pytest.mark.parametrize(("strides", "padding"), [(1, 1), (2, ((0, 1), (0, 1)))])
def test_a_layer_that_pads_is_as_padding_inside(strides: int, padding: Any) -> None:
    inside = net(padding="same", strides=strides)
    outside = net(layers.ZeroPadding2D(padding, name="pad", dtype=DTYPE), strides=strides)
    for method in (
        whence.LRP(composite="epsilon_plus_flat"),
        whence.LRP(composite="epsilon_gamma_box", low=-4, high=4),
        whence.LRP(overrides=((is_first, WSquare()),)),
    ):
        one, other = (method.explain(model, X, 1) for model in (inside, outside))
        a, b = (e.numpy().attributions for e in (one, other))
        assert np.abs(a).max() > 0 and np.abs(a - b).max() <= ROUNDING * np.abs(a).max()
        # biases are none: all relevance arrives, at the layer that pads as well
        found = other.conservation(["pad"])
        for sums in (found.inputs, found.layers["pad"]):
            np.testing.assert_allclose(sums, found.score, rtol=1e-4)
