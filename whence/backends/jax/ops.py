"""Tensor operations on JAX arrays, eager or traced."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from whence.backends.array_ops import ArrayOps
from whence.backends.jax.static import Static
from whence.core.errors import DTypeError
from whence.core.ops import Pullback, Tensor, Watch

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


class JaxOps(ArrayOps):
    """Operations of ``jax.numpy``."""

    name = "jax"
    xp = jnp
    static_shapes = True
    # XLA's convolutions on a CPU take a tenth less time per row than in larger chunks
    chunk_bytes, forward_rows = 2 * 2**20, 16

    # -- convert -----------------------------------------------------------------------------------------
    def is_tensor(self, x: Any) -> bool:
        return isinstance(x, jax.Array)

    def asarray(self, a: Any, *, like: Tensor | None = None, dtype: str | None = None) -> Tensor:
        if not isinstance(a, jax.Array):
            return _put(_as_array(self._cast(np.asarray(a), like, dtype)), like)
        if dtype is None and like is not None and self.is_floating(a) and self.is_floating(like):
            dtype = self.dtype(like)
        return _put(jnp.asarray(a, dtype=None if dtype is None else _supported(dtype)), like)

    def argument(self, a: np.ndarray, *, like: Tensor, dtype: str | None = None) -> Tensor | np.ndarray:
        # a compiled function takes arrays of the host's in C++, on the device of its other arguments
        return self.asarray(a, like=like, dtype=dtype) if _device(like) is None else self._cast(a, like, dtype)

    def _cast(self, a: np.ndarray, like: Tensor | None, dtype: str | None) -> np.ndarray:
        """On the host: JAX would start a program for it."""
        if dtype is None and like is not None and self.is_floating(a) and self.is_floating(like):
            dtype = self.dtype(like)
        return a if dtype is None or _supported(dtype) == self.dtype(a) else a.astype(dtype)

    def zeros_like(self, x: Tensor) -> Tensor:
        # an array of the host's costs less than a program that writes zeros
        return jnp.zeros_like(x) if _device(x) is None else _put(_as_array(np.zeros(x.shape, x.dtype)), x)

    def device(self, x: Tensor) -> str:
        devices = () if isinstance(x, jax.core.Tracer) else sorted(x.devices(), key=lambda d: d.id)
        return ",".join(f"{d.platform}:{d.id}" for d in devices) or jax.default_backend()

    def astype(self, x: Tensor, dtype: str) -> Tensor:
        return x if self.dtype(x) == dtype else x.astype(_supported(dtype))

    def stop_gradient(self, x: Tensor) -> Tensor:
        return jax.lax.stop_gradient(x) if isinstance(x, jax.core.Tracer) else x

    # -- select ------------------------------------------------------------------------------------------
    def argsort(self, x: Tensor, *, axis: int = -1, descending: bool = False) -> Tensor:
        return jnp.argsort(x, axis=axis, stable=True, descending=descending)

    # -- reduce ------------------------------------------------------------------------------------------
    def weighted_sum(self, weights: Tensor, x: Tensor) -> Tensor:
        # XLA turns a sum over the first axis into a loop over the last one, which is short in images
        return jnp.tensordot(weights, x, axes=1, precision="highest")

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
    # a constant of a traced program is no array of JAX's, and on none yet
    is_placed = isinstance(x, jax.Array) and not isinstance(x, jax.core.Tracer)
    devices = tuple(x.devices()) if is_placed else ()
    return devices[0] if len(devices) == 1 else None


_as_array = jax.jit(jnp.array)
"""A compiled call: since JAX 0.10 ``jnp.asarray`` runs a program as well, and finds it through Python each time.

A copy, since an old JAX that differentiates hands back the host's array where nothing is done to it.
"""


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
