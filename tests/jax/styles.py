"""One small network, hidden -> act -> middle -> act -> head, in every way of writing models in JAX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx
from jax import Array
from jax.ad_checkpoint import checkpoint_name

import whence
from whence.core.model import Model

SIZES = {"hidden": (6, 5), "middle": (5, 5), "head": (5, 3)}
LAYERS = ("hidden", "act", "middle", "head")

Params = dict[str, tuple[Array, Array]]


def weights() -> Params:
    """A matrix [inputs, outputs] and a bias by layer."""
    rng = np.random.default_rng(0)
    return {
        name: (
            jnp.asarray(rng.standard_normal(size), jnp.float32),
            jnp.asarray(rng.standard_normal(size[1:]), jnp.float32),
        )
        for name, size in SIZES.items()
    }


def images(batch: int = 4) -> Array:
    """Inputs [batch, 6]."""
    return jnp.asarray(np.random.default_rng(1).standard_normal((batch, 6)), jnp.float32)


def forward(params: Params, x: Array) -> Array:
    """The network, its layers named with ``checkpoint_name``."""
    for name in ("hidden", "middle"):
        kernel, bias = params[name]
        x = checkpoint_name(jax.nn.relu(checkpoint_name(x @ kernel + bias, name)), "act")
    return checkpoint_name(x @ params["head"][0] + params["head"][1], "head")


def put(variable: nnx.Variable, value: Array) -> None:
    """Write to a variable, on the oldest Flax too."""
    if hasattr(variable, "set_value"):
        variable.set_value(value)
    else:
        variable.value = value


class NnxAct(nnx.Module):
    def __call__(self, x: Array) -> Array:
        return nnx.relu(x)


class NnxNet(nnx.Module):
    def __init__(self) -> None:
        self.act = NnxAct()
        for name, size in SIZES.items():
            layer = nnx.Linear(*size, rngs=nnx.Rngs(0))
            layer.kernel, layer.bias = map(nnx.Param, weights()[name])
            setattr(self, name, layer)

    def __call__(self, x: Array) -> Array:
        return self.head(self.act(self.middle(self.act(self.hidden(x)))))


class LinenAct(linen.Module):
    def __call__(self, x: Array) -> Array:
        return linen.relu(x)


class LinenNet(linen.Module):
    def setup(self) -> None:
        self.act = LinenAct()
        self.hidden, self.middle, self.head = linen.Dense(5), linen.Dense(5), linen.Dense(3)

    def __call__(self, x: Array) -> Array:
        return self.head(self.act(self.middle(self.act(self.hidden(x)))))


def linen_variables() -> dict[str, Any]:
    return {"params": {name: {"kernel": k, "bias": b} for name, (k, b) in weights().items()}}


@jax.tree_util.register_pytree_with_keys_class
class Act:
    """A callable pytree without leaves."""

    def __call__(self, x: Array) -> Array:
        return jax.nn.relu(x)

    def tree_flatten_with_keys(self) -> tuple[tuple[()], None]:
        return (), None

    @classmethod
    def tree_unflatten(cls, _static: None, _children: Any) -> Act:
        return cls()


@jax.tree_util.register_dataclass
@dataclass
class Dense:
    kernel: Array
    bias: Array

    def __call__(self, x: Array) -> Array:
        return x @ self.kernel + self.bias


@jax.tree_util.register_dataclass
@dataclass
class DataclassNet:
    hidden: Dense
    middle: Dense
    head: Dense
    act: Act

    def __call__(self, x: Array) -> Array:
        return self.head(self.act(self.middle(self.act(self.hidden(x)))))


class EquinoxNet(equinox.Module):
    """Takes one sample [6]."""

    hidden: equinox.nn.Linear
    middle: equinox.nn.Linear
    head: equinox.nn.Linear
    act: equinox.nn.Lambda

    def __init__(self) -> None:
        self.act = equinox.nn.Lambda(jax.nn.relu)
        for name, (kernel, bias) in weights().items():
            layer = equinox.nn.Linear(*SIZES[name], key=jax.random.key(0))
            setattr(self, name, equinox.tree_at(lambda layer: (layer.weight, layer.bias), layer, (kernel.T, bias)))

    def __call__(self, x: Array) -> Array:
        return self.head(self.act(self.middle(self.act(self.hidden(x)))))


def _closure() -> Callable[[Array], Array]:
    params = weights()
    return lambda x: forward(params, x)


STYLES: dict[str, Callable[[], Model]] = {
    "nnx": lambda: whence.wrap(NnxNet()),
    "linen": lambda: whence.wrap(LinenNet(), variables=linen_variables()),
    "linen apply": lambda: whence.wrap(LinenNet().apply, variables=linen_variables(), framework="jax"),
    "bound linen": lambda: whence.wrap(LinenNet().bind(linen_variables())),
    "dataclass": lambda: whence.wrap(DataclassNet(*(Dense(*weights()[name]) for name in SIZES), Act())),
    "equinox": lambda: whence.wrap(EquinoxNet()),
    "function": lambda: whence.wrap(_closure(), framework="jax"),
    "function of params": lambda: whence.wrap(forward, variables=weights(), framework="jax"),
    "jitted": lambda: whence.wrap(jax.jit(_closure())),
    "jitted function of params": lambda: whence.wrap(jax.jit(forward), variables=weights()),
}
