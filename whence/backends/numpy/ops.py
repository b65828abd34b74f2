"""Tensor operations on NumPy arrays: the reference that every other backend is held against."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from whence.core.errors import CapabilityError
from whence.core.ops import Axis, Ops, Pullback, Tensor


class NumpyOps(Ops):
    """Operations of NumPy."""

    name = "numpy"
    differentiable = False

    # -- convert -----------------------------------------------------------------------------------------
    def is_tensor(self, x: Any) -> bool:
        return isinstance(x, (np.ndarray, np.generic))

    def asarray(self, a: Any, *, like: Tensor | None = None, dtype: str | None = None) -> Tensor:
        x = np.asarray(a, dtype=dtype)
        floats = like is not None and np.issubdtype(like.dtype, np.floating) and np.issubdtype(x.dtype, np.floating)
        return x.astype(like.dtype) if dtype is None and like is not None and floats else x

    def to_numpy(self, x: Tensor) -> np.ndarray:
        return np.asarray(x)

    def shape(self, x: Tensor) -> tuple[int, ...]:
        return tuple(x.shape)

    def dtype(self, x: Tensor) -> str:
        return str(x.dtype)

    def device(self, x: Tensor) -> str:
        return "cpu"

    def astype(self, x: Tensor, dtype: str) -> Tensor:
        return x.astype(dtype)

    def stop_gradient(self, x: Tensor) -> Tensor:
        return x

    # -- create and select -------------------------------------------------------------------------------
    def zeros_like(self, x: Tensor) -> Tensor:
        return np.zeros_like(x)

    def ones_like(self, x: Tensor) -> Tensor:
        return np.ones_like(x)

    def full_like(self, x: Tensor, fill_value: float) -> Tensor:
        return np.full_like(x, fill_value)

    def concat(self, xs: Sequence[Tensor], *, axis: int = 0) -> Tensor:
        return np.concatenate(xs, axis=axis)

    def stack(self, xs: Sequence[Tensor], *, axis: int = 0) -> Tensor:
        return np.stack(xs, axis=axis)

    def where(self, condition: Tensor, x1: Tensor, x2: Tensor) -> Tensor:
        return np.where(condition, x1, x2)

    def take(self, x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
        return np.take(x, indices, axis=axis)

    def take_along_axis(self, x: Tensor, indices: Tensor, *, axis: int) -> Tensor:
        return np.take_along_axis(x, indices, axis=axis)

    def broadcast_to(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        return np.broadcast_to(x, shape)

    def pad(self, x: Tensor, widths: Sequence[tuple[int, int]], *, value: float = 0.0) -> Tensor:
        return np.pad(x, widths, constant_values=value)

    # -- elementwise -------------------------------------------------------------------------------------
    def abs(self, x: Tensor) -> Tensor:
        return np.abs(x)

    def sign(self, x: Tensor) -> Tensor:
        return np.sign(x)

    def exp(self, x: Tensor) -> Tensor:
        return np.exp(x)

    def log(self, x: Tensor) -> Tensor:
        return np.log(x)

    def sqrt(self, x: Tensor) -> Tensor:
        return np.sqrt(x)

    def tanh(self, x: Tensor) -> Tensor:
        return np.tanh(x)

    def isfinite(self, x: Tensor) -> Tensor:
        return np.isfinite(x)

    def clip(self, x: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
        return np.clip(x, min, max)

    def maximum(self, x1: Tensor, x2: Tensor) -> Tensor:
        return np.maximum(x1, x2)

    def minimum(self, x1: Tensor, x2: Tensor) -> Tensor:
        return np.minimum(x1, x2)

    # -- reduce ------------------------------------------------------------------------------------------
    def sum(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return np.sum(x, axis=axis, keepdims=keepdims)

    def mean(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return np.mean(x, axis=axis, keepdims=keepdims)

    def max(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return np.max(x, axis=axis, keepdims=keepdims)

    def min(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return np.min(x, axis=axis, keepdims=keepdims)

    def any(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return np.any(x, axis=axis, keepdims=keepdims)

    def all(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return np.all(x, axis=axis, keepdims=keepdims)

    def argmax(self, x: Tensor, *, axis: int, keepdims: bool = False) -> Tensor:
        return np.argmax(x, axis=axis, keepdims=keepdims)

    def argsort(self, x: Tensor, *, axis: int = -1, descending: bool = False) -> Tensor:
        if not descending:
            return np.argsort(x, axis=axis, kind="stable")
        order = np.argsort(np.flip(x, axis), axis=axis, kind="stable")
        return x.shape[axis] - 1 - np.flip(order, axis)

    def cumulative_sum(self, x: Tensor, *, axis: int) -> Tensor:
        return np.cumsum(x, axis=axis)

    def matmul(self, x1: Tensor, x2: Tensor) -> Tensor:
        return np.matmul(x1, x2)

    # -- differentiate -----------------------------------------------------------------------------------
    def vjp(self, fn: Callable[..., Tensor], *xs: Tensor) -> tuple[Tensor, Pullback]:
        raise _no_gradient()

    def custom_vjp(
        self, fwd: Callable[..., tuple[Tensor, Any]], bwd: Callable[[Any, Tensor], tuple[Tensor, ...]]
    ) -> Callable[..., Tensor]:
        raise _no_gradient()

    def evaluate(self, fn: Callable[..., Any], *xs: Any) -> Any:
        return fn(*xs)

    def compile(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        return fn

    # -- the machine -------------------------------------------------------------------------------------
    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, MemoryError)

    def free_memory(self, x: Tensor) -> int | None:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    def matmul_precision(self, x: Tensor) -> str:
        return str(x.dtype)


def _no_gradient() -> CapabilityError:
    return CapabilityError("a derivative", received="NumPy arrays", valid="tensors of torch, jax or tensorflow")


ops = NumpyOps()
