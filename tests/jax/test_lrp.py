"""Rules of LRP by position and by layer on Flax modules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array

from tests.lrp_rules import Placed


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


class Net(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)

        def dense() -> nnx.Linear:
            return nnx.Linear(4, 4, use_bias=False, rngs=rngs, param_dtype=jnp.float64)

        self.a, self.c = dense(), dense()
        self.b = nnx.Sequential(nnx.relu, dense())

    def __call__(self, x: Array) -> Array:
        y = self.b(2 * self.a(x)) + x
        found: Array = self.c(y) + self.c(x)
        return found


class TestPlaced(Placed):
    framework = "jax"

    def model(self) -> nnx.Module:
        return Net()

    def weights(self) -> tuple[np.ndarray, ...]:
        net = self.model()
        return tuple(np.asarray(layer.kernel[...]) for layer in (net.a, net.b.layers[1], net.c))

    def tensors(self, array: Any) -> Array:
        return jnp.asarray(array)

    def loop(self, turn: Any, x: Array) -> Array:
        return jax.lax.scan(lambda h, _: (turn(h), None), x, None, length=3)[0]

    def cast(self, x: Array, dtype: str) -> Array:
        return x.astype(dtype)

    def relu(self, x: Array) -> Array:
        return jax.nn.relu(x)
