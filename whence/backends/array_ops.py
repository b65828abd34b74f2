"""Tensor operations of a namespace in NumPy's manner: what NumPy and ``jax.numpy`` write alike."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from whence.core.ops import Axis, Ops, Tensor


@cache
def _name(dtype: Any) -> str:
    """NumPy makes the name of an element type anew at each call."""
    return str(dtype)


class ArrayOps(Ops):
    """The operations that ``xp`` has under NumPy's names."""

    xp: Any
    """The namespace: ``numpy``, ``jax.numpy``."""

    def to_numpy(self, x: Tensor) -> np.ndarray:
        return np.asarray(x)

    def shape(self, x: Tensor) -> tuple[int, ...]:
        return tuple(x.shape)

    def dtype(self, x: Tensor) -> str:
        return _name(x.dtype)

    # -- create and select -------------------------------------------------------------------------------
    def zeros_like(self, x: Tensor) -> Tensor:
        return self.xp.zeros_like(x)

    def ones_like(self, x: Tensor) -> Tensor:
        return self.xp.ones_like(x)

    def full_like(self, x: Tensor, fill_value: float) -> Tensor:
        return self.xp.full_like(x, fill_value)

    def concat(self, xs: Sequence[Tensor], *, axis: int = 0) -> Tensor:
        return self.xp.concatenate(list(xs), axis=axis)

    def stack(self, xs: Sequence[Tensor], *, axis: int = 0) -> Tensor:
        return self.xp.stack(list(xs), axis=axis)

    def where(self, condition: Tensor, x1: Tensor | float, x2: Tensor | float) -> Tensor:
        return self.xp.where(condition, x1, x2)

    def take(self, x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
        return self.xp.take(x, indices, axis=axis)

    def take_along_axis(self, x: Tensor, indices: Tensor, *, axis: int) -> Tensor:
        return self.xp.take_along_axis(x, indices, axis=axis)

    def broadcast_to(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        return self.xp.broadcast_to(x, shape)

    def pad(self, x: Tensor, widths: Sequence[tuple[int, int]], *, value: float = 0.0) -> Tensor:
        return self.xp.pad(x, widths, constant_values=value)

    # -- elementwise -------------------------------------------------------------------------------------
    def abs(self, x: Tensor) -> Tensor:
        return self.xp.abs(x)

    def sign(self, x: Tensor) -> Tensor:
        return self.xp.sign(x)

    def exp(self, x: Tensor) -> Tensor:
        return self.xp.exp(x)

    def expm1(self, x: Tensor) -> Tensor:
        return self.xp.expm1(x)

    def log(self, x: Tensor) -> Tensor:
        return self.xp.log(x)

    def sqrt(self, x: Tensor) -> Tensor:
        return self.xp.sqrt(x)

    def tanh(self, x: Tensor) -> Tensor:
        return self.xp.tanh(x)

    def isfinite(self, x: Tensor) -> Tensor:
        return self.xp.isfinite(x)

    def clip(self, x: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
        return self.xp.clip(x, min, max)

    def maximum(self, x1: Tensor, x2: Tensor) -> Tensor:
        return self.xp.maximum(x1, x2)

    def minimum(self, x1: Tensor, x2: Tensor) -> Tensor:
        return self.xp.minimum(x1, x2)

    # -- reduce ------------------------------------------------------------------------------------------
    def sum(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return self.xp.sum(x, axis=axis, keepdims=keepdims)

    def mean(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return self.xp.mean(x, axis=axis, keepdims=keepdims)

    def max(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return self.xp.max(x, axis=axis, keepdims=keepdims)

    def min(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return self.xp.min(x, axis=axis, keepdims=keepdims)

    def any(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return self.xp.any(x, axis=axis, keepdims=keepdims)

    def all(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return self.xp.all(x, axis=axis, keepdims=keepdims)

    def argmax(self, x: Tensor, *, axis: int, keepdims: bool = False) -> Tensor:
        return self.xp.argmax(x, axis=axis, keepdims=keepdims)

    def cumulative_sum(self, x: Tensor, *, axis: int) -> Tensor:
        return self.xp.cumsum(x, axis=axis)

    def matmul(self, x1: Tensor, x2: Tensor) -> Tensor:
        return self.xp.matmul(x1, x2)
