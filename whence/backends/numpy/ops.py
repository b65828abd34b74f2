"""Tensor operations on NumPy arrays: the reference that every other backend is held against."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from whence.backends.array_ops import ArrayOps
from whence.core.errors import CapabilityError
from whence.core.ops import Pullback, Tensor


class NumpyOps(ArrayOps):
    """Operations of NumPy."""

    name = "numpy"
    xp = np
    differentiable = False

    # -- convert -----------------------------------------------------------------------------------------
    def is_tensor(self, x: Any) -> bool:
        return isinstance(x, (np.ndarray, np.generic))

    def asarray(self, a: Any, *, like: Tensor | None = None, dtype: str | None = None) -> Tensor:
        x = np.asarray(a, dtype=dtype)
        floats = like is not None and np.issubdtype(like.dtype, np.floating) and np.issubdtype(x.dtype, np.floating)
        return x.astype(like.dtype) if dtype is None and like is not None and floats else x

    def device(self, x: Tensor) -> str:
        return "cpu"

    def astype(self, x: Tensor, dtype: str) -> Tensor:
        return x.astype(dtype)

    def stop_gradient(self, x: Tensor) -> Tensor:
        return x

    # -- select ------------------------------------------------------------------------------------------
    def argsort(self, x: Tensor, *, axis: int = -1, descending: bool = False) -> Tensor:
        if not descending:
            return np.argsort(x, axis=axis, kind="stable")
        order = np.argsort(np.flip(x, axis), axis=axis, kind="stable")
        return x.shape[axis] - 1 - np.flip(order, axis)

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
