"""Tensor operations on TensorFlow tensors, eager ones and those of a graph under construction."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from whence.backends.tensorflow.gradient import backpropagate, backpropagate_inside, with_pullback
from whence.core.ops import Axis, Ops, Pullback, Tensor, Watch


class TensorflowOps(Ops):
    """Operations of TensorFlow."""

    name = "tensorflow"
    static_shapes = True

    # -- convert -----------------------------------------------------------------------------------------
    def is_tensor(self, x: Any) -> bool:
        return isinstance(x, (tf.Tensor, tf.Variable))

    def asarray(self, a: Any, *, like: Tensor | None = None, dtype: str | None = None) -> Tensor:
        with tf.device(like.device if like is not None and tf.executing_eagerly() else None):
            if self.is_tensor(a):
                return tf.identity(tf.cast(a, _wanted(a.dtype, like, dtype)))
            if like is None and dtype is None:
                return tf.convert_to_tensor(a)
            # through NumPy, since TensorFlow reads Python numbers as float32
            array = np.asarray(a)
            return tf.convert_to_tensor(array.astype(_wanted(tf.as_dtype(array.dtype), like, dtype).as_numpy_dtype))

    def to_numpy(self, x: Tensor) -> np.ndarray:
        return np.asarray((tf.cast(x, tf.float32) if x.dtype == tf.bfloat16 else x).numpy())

    def shape(self, x: Tensor) -> tuple[int, ...]:
        return tuple(x.shape)

    def dtype(self, x: Tensor) -> str:
        return str(x.dtype.name)

    def device(self, x: Tensor) -> str:
        return str(x.device)

    def astype(self, x: Tensor, dtype: str) -> Tensor:
        return tf.cast(x, dtype)

    def stop_gradient(self, x: Tensor) -> Tensor:
        return tf.stop_gradient(x)

    # -- create and select -------------------------------------------------------------------------------
    def zeros_like(self, x: Tensor) -> Tensor:
        return tf.zeros_like(x)

    def ones_like(self, x: Tensor) -> Tensor:
        return tf.ones_like(x)

    def full_like(self, x: Tensor, fill_value: float) -> Tensor:
        return tf.fill(x.shape, _number(fill_value, x))

    def concat(self, xs: Sequence[Tensor], *, axis: int = 0) -> Tensor:
        return tf.concat(list(xs), axis)

    def stack(self, xs: Sequence[Tensor], *, axis: int = 0) -> Tensor:
        return tf.stack(list(xs), axis)

    def where(self, condition: Tensor, x1: Tensor | float, x2: Tensor | float) -> Tensor:
        return tf.where(condition, *_alike(x1, x2))

    def take(self, x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
        return tf.gather(x, indices, axis=axis)

    def take_along_axis(self, x: Tensor, indices: Tensor, *, axis: int) -> Tensor:
        axis = axis % x.shape.rank
        shape = list(np.broadcast_shapes(_without(x.shape, axis), _without(indices.shape, axis)))
        x = tf.broadcast_to(x, [*shape[:axis], x.shape[axis], *shape[axis:]])
        indices = tf.broadcast_to(indices, [*shape[:axis], indices.shape[axis], *shape[axis:]])
        order = _without(range(x.shape.rank), axis)
        found = tf.gather(tf.transpose(x, [*order, axis]), tf.transpose(indices, [*order, axis]),
                          axis=-1, batch_dims=x.shape.rank - 1)  # fmt: skip
        return tf.transpose(found, np.argsort([*order, axis]))

    def broadcast_to(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        return tf.broadcast_to(x, shape)

    def pad(self, x: Tensor, widths: Sequence[tuple[int, int]], *, value: float = 0.0) -> Tensor:
        return tf.pad(x, [list(pair) for pair in widths], constant_values=_number(value, x))

    # -- elementwise -------------------------------------------------------------------------------------
    def abs(self, x: Tensor) -> Tensor:
        return tf.abs(x)

    def sign(self, x: Tensor) -> Tensor:
        return tf.sign(x)

    def exp(self, x: Tensor) -> Tensor:
        return tf.exp(x)

    def expm1(self, x: Tensor) -> Tensor:
        return tf.math.expm1(x)

    def log(self, x: Tensor) -> Tensor:
        return tf.math.log(x)

    def sqrt(self, x: Tensor) -> Tensor:
        return tf.sqrt(x)

    def tanh(self, x: Tensor) -> Tensor:
        return tf.tanh(x)

    def isfinite(self, x: Tensor) -> Tensor:
        return tf.math.is_finite(x)

    def clip(self, x: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
        x = x if min is None else tf.maximum(x, _number(min, x))
        return x if max is None else tf.minimum(x, _number(max, x))

    def maximum(self, x1: Tensor, x2: Tensor) -> Tensor:
        return tf.maximum(*_alike(x1, x2))

    def minimum(self, x1: Tensor, x2: Tensor) -> Tensor:
        return tf.minimum(*_alike(x1, x2))

    # -- reduce ------------------------------------------------------------------------------------------
    def sum(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return tf.reduce_sum(x, axis, keepdims)

    def mean(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return tf.reduce_mean(x, axis, keepdims)

    def max(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return tf.reduce_max(x, axis, keepdims)

    def min(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return tf.reduce_min(x, axis, keepdims)

    def any(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return tf.reduce_any(tf.cast(x, tf.bool), axis, keepdims)

    def all(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return tf.reduce_all(tf.cast(x, tf.bool), axis, keepdims)

    def argmax(self, x: Tensor, *, axis: int, keepdims: bool = False) -> Tensor:
        found = tf.argmax(x, axis)
        return tf.expand_dims(found, axis) if keepdims else found

    def argsort(self, x: Tensor, *, axis: int = -1, descending: bool = False) -> Tensor:
        return tf.argsort(x, axis, "DESCENDING" if descending else "ASCENDING", stable=True)

    def cumulative_sum(self, x: Tensor, *, axis: int) -> Tensor:
        return tf.cumsum(x, axis)

    def matmul(self, x1: Tensor, x2: Tensor) -> Tensor:
        return tf.matmul(x1, x2)

    # -- differentiate -----------------------------------------------------------------------------------
    def vjp(self, fn: Callable[..., Tensor], *xs: Tensor) -> tuple[Tensor, Pullback]:
        return backpropagate(fn, xs)

    def vjp_inside(
        self, fn: Callable[[Watch], Tensor]
    ) -> tuple[Tensor, dict[str, Tensor], Callable[[Tensor], dict[str, Tensor]]]:
        return backpropagate_inside(fn)

    def custom_vjp(
        self, fwd: Callable[..., tuple[Tensor, Any]], bwd: Callable[[Any, Tensor], tuple[Tensor, ...]]
    ) -> Callable[..., Tensor]:
        def apply(*xs: Tensor) -> Tensor:
            y, residuals = fwd(*xs)
            return with_pullback([y], xs, lambda cotangent: bwd(residuals, cotangent))[0]

        return apply

    def evaluate(self, fn: Callable[..., Any], *xs: Any) -> Any:
        return fn(*xs)

    def compile(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        compiled: Callable[..., Any] = tf.function(fn, autograph=False)
        return compiled

    # -- the machine -------------------------------------------------------------------------------------
    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, (tf.errors.ResourceExhaustedError, MemoryError))

    def free_memory(self, x: Tensor) -> int | None:
        # On accelerators TensorFlow takes nearly all memory at once and tells nobody what is free inside.
        on_host = "GPU" not in x.device and "TPU" not in x.device
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if on_host else None

    def matmul_precision(self, x: Tensor) -> str:
        reduced = "GPU" in x.device and tf.config.experimental.tensor_float_32_execution_enabled()
        return "tf32" if reduced else "float32"


def _wanted(own: Any, like: Tensor | None, dtype: str | None) -> Any:
    """The dtype as asked for, else that of ``like`` where both are floating-point, else its own."""
    if dtype is not None:
        return tf.as_dtype(dtype)
    return like.dtype if like is not None and like.dtype.is_floating and own.is_floating else own


def _number(value: float, like: Tensor) -> Tensor:
    """A Python number in the dtype of a tensor; ``tf.cast`` would round it to float32 on the way."""
    return tf.constant(np.asarray(value).astype(like.dtype.as_numpy_dtype))


def _alike(x1: Any, x2: Any) -> tuple[Any, Any]:
    """Two tensors, where one of them may be a Python number."""
    x1 = x1 if tf.is_tensor(x1) else _number(x1, x2)
    return x1, x2 if tf.is_tensor(x2) else _number(x2, x1)


def _without(sizes: Sequence[int], axis: int) -> list[int]:
    return [size for i, size in enumerate(sizes) if i != axis]


ops = TensorflowOps()
