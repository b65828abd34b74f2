"""The networks in JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax, nn

import whence

from . import weights

Fn = Callable[[Array], Array]


def _norm(x: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred * lax.rsqrt(jnp.mean(centred**2, -1, keepdims=True) + 1e-3)


OPERATIONS: dict[str, Fn] = {
    "relu": nn.relu, "relu in place": nn.relu, "leaky_relu": lambda x: nn.leaky_relu(x, 0.2), "relu6": nn.relu6,
    "elu": nn.elu, "selu": nn.selu, "celu": nn.celu, "sigmoid": nn.sigmoid, "tanh": jnp.tanh,
    "softplus": nn.softplus, "softsign": nn.soft_sign, "silu": nn.silu, "x * sigmoid(x)": lambda x: x * nn.sigmoid(x),
    "gelu": lambda x: nn.gelu(x, approximate=False), "gelu, tanh": nn.gelu, "hard_swish": nn.hard_swish,
    "mish": nn.mish,
    "hard_sigmoid": nn.hard_sigmoid, "log_sigmoid": nn.log_sigmoid, "exp": jnp.exp, "log": lambda x: jnp.log(x * x + 1),
    "sqrt": lambda x: jnp.sqrt(x * x + 1), "rsqrt": lambda x: lax.rsqrt(x * x + 1), "power": lambda x: x**3,
    "abs": jnp.abs, "clip": lambda x: jnp.clip(x, -0.4, 0.5), "erf": lax.erf,
    "where": lambda x: jnp.where(x > 0.1, x, x * x), "x * (x > 0)": lambda x: x * (x > 0),
    "softmax": nn.softmax, "log_softmax": nn.log_softmax,
    "logsumexp": lambda x: x + nn.logsumexp(x, -1, keepdims=True),
    "max": lambda x: x + x.max(-1, keepdims=True), "maximum": lambda x: jnp.maximum(x, -2 * x[:, ::-1]),
    "minimum": lambda x: jnp.minimum(x, x[:, ::-1]), "mul": lambda x: x * x[:, ::-1],
    "div": lambda x: x / (1 + x[:, ::-1] ** 2), "matmul": lambda x: (x[:, :, None] @ x[:, None, :]).mean(-1),
    "layer_norm": _norm, "rms_norm": lambda x: x * lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-3),
    "group_norm": lambda x: _norm(x.reshape(-1, 2, 4)).reshape(x.shape),
    "std": lambda x: x / x.std(-1, keepdims=True), "glu": lambda x: nn.glu(jnp.concatenate([x, x[:, ::-1]], -1)),
    "max_pool": lambda x: jnp.tile(lax.reduce_window(x, -jnp.inf, lax.max, (1, 3), (1, 2), "VALID"), (1, 3))[:, :8],
    "cumulative product": lambda x: jnp.cumprod(x, -1),
    "concat, split, gather": lambda x: jnp.concatenate([jnp.tanh(p) for p in jnp.split(x, 4, -1)], -1)[
        :, jnp.array([3, 1, 1, 0, 4, 5, 7, 6])
    ],
}  # fmt: skip


def _cast(arrays: dict[str, weights.Array], dtype: str) -> dict[str, Array]:
    return {name: jnp.asarray(a, dtype) for name, a in arrays.items()}


def mlp(operation: str, dtype: str) -> Any:
    """The network around one operation."""
    w, act = _cast(weights.mlp(), dtype), OPERATIONS[operation]
    return whence.wrap(lambda x: act(x @ w["w1"] + w["b1"]) @ w["w2"] + w["b2"], framework="jax")


def mobile(dtype: str) -> Any:
    """As ``torch_nets.Mobile``."""
    w = _cast(weights.mobile(), dtype)

    def conv(x: Array, kernel: Array, padding: str, groups: int = 1) -> Array:
        axes = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=axes, feature_group_count=groups)

    def model(x: Array) -> Array:
        x = nn.hard_swish(conv(x, w["stem"], "VALID") * w["factor"] + w["offset"])
        h = nn.silu(conv(x, w["depthwise"].transpose(0, 1, 3, 2), "SAME", groups=6))
        s = nn.relu(h.mean((1, 2)) @ w["squeeze"] + w["squeeze_b"])
        s = nn.sigmoid(s @ w["excite"] + w["excite_b"])
        x = x + conv(h * s[:, None, None], w["point"], "VALID")
        return nn.relu(x).mean((1, 2)) @ w["head"]

    return whence.wrap(model, framework="jax")


def lstm(dtype: str) -> Any:
    """A scan over time."""
    w = _cast(weights.lstm(), dtype)

    def step(state: tuple[Array, Array], x: Array) -> tuple[tuple[Array, Array], None]:
        h, c = state
        i, f, g, o = jnp.split(x @ w["input"] + h @ w["state"] + w["bias"], 4, -1)
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
        return (nn.sigmoid(o) * jnp.tanh(c), c), None

    def model(x: Array) -> Array:
        zero = jnp.zeros((x.shape[0], 5), x.dtype)
        return lax.scan(step, (zero, zero), x.swapaxes(0, 1))[0][0] @ w["head"]

    return whence.wrap(model, framework="jax")


def attention(dtype: str) -> Any:
    """As ``torch_nets.Attention``."""
    w = _cast(weights.attention(), dtype)

    def model(x: Array) -> Array:
        e = x @ w["embed"] + w["position"]
        n = _norm(e)
        q, k, v = n @ w["query"], n @ w["key"], n @ w["value"]
        e = e + nn.softmax(jnp.einsum("bid,bjd->bij", q, k) / 6**0.5, -1) @ v @ w["out"]
        h = (_norm(e) * w["factor"] + w["offset"]) @ w["up"] + w["up_b"]
        e = e + nn.gelu(h, approximate=False) @ w["down"]
        return e.mean(1) @ w["head"]

    return whence.wrap(model, framework="jax")


MODELS: dict[str, Callable[[str], Any]] = {"mobile": mobile, "lstm": lstm, "attention": attention}


def tensor(array: weights.Array, dtype: str) -> Array:
    """An input."""
    return jax.device_put(array.astype(dtype))
