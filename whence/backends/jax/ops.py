"""Tensor operations on JAX arrays, eager or traced."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whence.backends.jax.static import Static
from whence.core.errors import DTypeError
from whence.core.ops import Axis, Ops, Pullback, Tensor, Watch

PRECISIONS = {
    "float32": "float32",
    "highest": "float32",
    "F32_F32_F32": "float32",
    "tensorfloat32": "tf32",
    "high": "tf32",
    "None": None,
    "default": None,
    "fastest": None,
}
"""What the words of ``jax_default_matmul_precision`` mean; None is the device's own way."""


class JaxOps(Ops):
    """Operations of ``jax.numpy``."""

    name = "jax"
    static_shapes = True
    chunk_bytes = 2 * 2**20  # XLA's convolutions on a CPU take a tenth less time per row than in larger chunks

    # -- convert -----------------------------------------------------------------------------------------
    def is_tensor(self, x: Any) -> bool:
        return isinstance(x, jax.Array)

    def asarray(self, a: Any, *, like: Tensor | None = None, dtype: str | None = None) -> Tensor:
        a = a if isinstance(a, jax.Array) else np.asarray(a)
        if dtype is None and like is not None and jnp.issubdtype(a.dtype, jnp.floating) and self.is_floating(like):
            dtype = like.dtype
        x = jnp.asarray(a, dtype=None if dtype is None else _supported(dtype))
        return _put(x, like)

    def to_numpy(self, x: Tensor) -> np.ndarray:
        return np.asarray(x)

    def shape(self, x: Tensor) -> tuple[int, ...]:
        return tuple(x.shape)

    def dtype(self, x: Tensor) -> str:
        return str(x.dtype)

    def device(self, x: Tensor) -> str:
        devices = () if isinstance(x, jax.core.Tracer) else sorted(x.devices(), key=lambda d: d.id)
        return ",".join(f"{d.platform}:{d.id}" for d in devices) or jax.default_backend()

    def astype(self, x: Tensor, dtype: str) -> Tensor:
        return x.astype(_supported(dtype))

    def stop_gradient(self, x: Tensor) -> Tensor:
        return jax.lax.stop_gradient(x)

    # -- create and select -------------------------------------------------------------------------------
    def zeros_like(self, x: Tensor) -> Tensor:
        return jnp.zeros_like(x)

    def ones_like(self, x: Tensor) -> Tensor:
        return jnp.ones_like(x)

    def full_like(self, x: Tensor, fill_value: float) -> Tensor:
        return jnp.full_like(x, fill_value)

    def concat(self, xs: Sequence[Tensor], *, axis: int = 0) -> Tensor:
        return jnp.concatenate(list(xs), axis=axis)

    def stack(self, xs: Sequence[Tensor], *, axis: int = 0) -> Tensor:
        return jnp.stack(list(xs), axis=axis)

    def where(self, condition: Tensor, x1: Tensor, x2: Tensor) -> Tensor:
        return jnp.where(condition, x1, x2)

    def take(self, x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
        return jnp.take(x, indices, axis=axis)

    def take_along_axis(self, x: Tensor, indices: Tensor, *, axis: int) -> Tensor:
        return jnp.take_along_axis(x, indices, axis=axis)

    def broadcast_to(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        return jnp.broadcast_to(x, shape)

    def pad(self, x: Tensor, widths: Sequence[tuple[int, int]], *, value: float = 0.0) -> Tensor:
        return jnp.pad(x, widths, constant_values=value)

    # -- elementwise -------------------------------------------------------------------------------------
    def abs(self, x: Tensor) -> Tensor:
        return jnp.abs(x)

    def sign(self, x: Tensor) -> Tensor:
        return jnp.sign(x)

    def exp(self, x: Tensor) -> Tensor:
        return jnp.exp(x)

    def log(self, x: Tensor) -> Tensor:
        return jnp.log(x)

    def sqrt(self, x: Tensor) -> Tensor:
        return jnp.sqrt(x)

    def tanh(self, x: Tensor) -> Tensor:
        return jnp.tanh(x)

    def isfinite(self, x: Tensor) -> Tensor:
        return jnp.isfinite(x)

    def clip(self, x: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
        return jnp.clip(x, min, max)

    def maximum(self, x1: Tensor, x2: Tensor) -> Tensor:
        return jnp.maximum(x1, x2)

    def minimum(self, x1: Tensor, x2: Tensor) -> Tensor:
        return jnp.minimum(x1, x2)

    # -- reduce ------------------------------------------------------------------------------------------
    def sum(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return jnp.sum(x, axis=axis, keepdims=keepdims)

    def mean(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return jnp.mean(x, axis=axis, keepdims=keepdims)

    def max(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return jnp.max(x, axis=axis, keepdims=keepdims)

    def min(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return jnp.min(x, axis=axis, keepdims=keepdims)

    def any(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return jnp.any(x, axis=axis, keepdims=keepdims)

    def all(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return jnp.all(x, axis=axis, keepdims=keepdims)

    def argmax(self, x: Tensor, *, axis: int, keepdims: bool = False) -> Tensor:
        return jnp.argmax(x, axis=axis, keepdims=keepdims)

    def argsort(self, x: Tensor, *, axis: int = -1, descending: bool = False) -> Tensor:
        return jnp.argsort(x, axis=axis, stable=True, descending=descending)

    def cumulative_sum(self, x: Tensor, *, axis: int) -> Tensor:
        return jnp.cumsum(x, axis=axis)

    def matmul(self, x1: Tensor, x2: Tensor) -> Tensor:
        return jnp.matmul(x1, x2)

    # -- differentiate -----------------------------------------------------------------------------------
    def vjp(self, fn: Callable[..., Tensor], *xs: Tensor) -> tuple[Tensor, Pullback]:
        y, pullback = jax.vjp(fn, *xs)
        return y, pullback

    def vjp_inside(
        self, fn: Callable[[Watch], Tensor]
    ) -> tuple[Tensor, dict[str, Tensor], Callable[[Tensor], dict[str, Tensor]]]:
        def watched() -> dict[str, Tensor]:
            found: dict[str, Tensor] = {}
            fn(lambda name, value: found.setdefault(name, value))
            return found

        def with_offsets(offsets: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
            found: dict[str, Tensor] = {}

            def watch(name: str, value: Tensor) -> Tensor:
                found[name] = value
                return value + offsets[name]

            return fn(watch), found

        offsets = {name: jnp.zeros(x.shape, x.dtype) for name, x in jax.eval_shape(watched).items()}
        y, pullback, found = jax.vjp(with_offsets, offsets, has_aux=True)
        return y, found, lambda cotangent: pullback(cotangent)[0]

    def custom_vjp(
        self, fwd: Callable[..., tuple[Tensor, Any]], bwd: Callable[[Any, Tensor], tuple[Tensor, ...]]
    ) -> Callable[..., Tensor]:
        @jax.custom_vjp
        def fn(*xs: Tensor) -> Tensor:
            return fwd(*xs)[0]

        def forward(*xs: Tensor) -> tuple[Tensor, Any]:
            y, residuals = fwd(*xs)
            floating = tuple(self.is_floating(x) for x in xs)
            return y, (*Static.split(residuals), Static(floating))

        def backward(saved: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
            static, arrays, floating = saved
            found = bwd(static.join(arrays), cotangent)
            # None is JAX's zero for whole numbers, which have no tangent
            return tuple(g if real else None for g, real in zip(found, floating.value, strict=True))

        fn.defvjp(forward, backward)
        result: Callable[..., Tensor] = fn
        return result

    def evaluate(self, fn: Callable[..., Any], *xs: Any) -> Any:
        return fn(*xs)

    def compile(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        compiled: Callable[..., Any] = jax.jit(fn)
        return compiled

    # -- the machine -------------------------------------------------------------------------------------
    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, MemoryError) or (
            isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)
        )

    def free_memory(self, x: Tensor) -> int | None:
        device = _device(x) or jax.devices()[0]
        if device.platform == "cpu":
            return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        known = device.memory_stats() or {}
        return known["bytes_limit"] - known["bytes_in_use"] if "bytes_limit" in known else None

    def on_host(self, tensors: Any) -> bool:
        """Whether these are arrays with values, on the CPU."""
        devices = (_device(x) for x in jax.tree_util.tree_leaves(tensors) if isinstance(x, jax.Array))
        return all(device is not None and device.platform == "cpu" for device in devices)

    def matmul_precision(self, x: Tensor) -> str:
        platform = getattr(_device(x), "platform", jax.default_backend())
        if platform == "cpu":
            return "float32"
        word = str(jax.config.jax_default_matmul_precision)
        return PRECISIONS.get(word, word) or ("bfloat16" if platform == "tpu" else "tf32")


def _device(x: Tensor) -> Any:
    """The one device that holds the array; None for a traced or a distributed one."""
    devices = () if isinstance(x, jax.core.Tracer) else tuple(x.devices())
    return devices[0] if len(devices) == 1 else None


def _put(x: Tensor, like: Tensor | None) -> Tensor:
    # an array on its own device stays uncommitted, so that it may still follow a distributed one
    device = None if like is None else _device(like)
    return x if device is None or _device(x) in (None, device) else jax.device_put(x, device)


def _supported(dtype: Any) -> Any:
    """The element type, unless JAX would silently take another one for it."""
    if str(dtype) in ("float64", "complex128") and not jax.config.jax_enable_x64:
        raise DTypeError(
            "numbers of " + str(dtype),
            received="JAX with jax_enable_x64 off",
            valid="float32, or jax.config.update('jax_enable_x64', True) before the model is made",
        )
    return dtype


ops = JaxOps()
