"""Rules of LRP by position and by layer on Flax modules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array

from tests.lrp_padding import Padded
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


class PaddedNet(nnx.Module):
    def __init__(self, kernel: Any, head: Any) -> None:
        rngs = nnx.Rngs(0)
        self.pad = ZeroPadding()
        self.conv = nnx.Conv(3, 4, (3, 3), 2, padding="VALID", use_bias=False, rngs=rngs, param_dtype=jnp.float64)
        self.head = nnx.Linear(4, 2, use_bias=False, rngs=rngs, param_dtype=jnp.float64)
        self.conv.kernel, self.head.kernel = nnx.Param(jnp.asarray(kernel)), nnx.Param(jnp.asarray(head))

    def __call__(self, x: Array) -> Array:
        found: Array = self.head(jax.nn.relu(self.conv(self.pad(x))).mean((1, 2)))
        return found


class ZeroPadding(nnx.Module):
    def __call__(self, x: Array) -> Array:
        return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))


class TestPadded(Padded):
    framework = "jax"

    def tensors(self, array: Any) -> Array:
        return jnp.asarray(array)

    def pad(self, x: Array, widths: Sequence[tuple[int, int]], value: float = 0.0) -> Array:
        return jax.lax.pad(x, jnp.asarray(value, x.dtype), [(*width, 0) for width in widths])

    def reflect(self, x: Array) -> Array:
        return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")

    def conv(self, x: Array, kernel: Array, padding: int) -> Array:
        axes = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (2, 2), [(padding, padding)] * 2, dimension_numbers=axes)

    def transpose(self, x: Array, axes: Sequence[int]) -> Array:
        return x.transpose(axes)

    def relu_mean(self, x: Array) -> Array:
        return jax.nn.relu(x).mean((1, 2))

    def layers(self, kernel: Any, head: Any) -> nnx.Module:
        return PaddedNet(kernel, head)
