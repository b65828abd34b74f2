"""Compiled leaves: traced once per shapes of their arguments, or run eagerly for models that need values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from whence.core.errors import CapabilityError, WhenceError
from whence.core.model import CompiledStore


class UnknownShape(Exception):  # noqa: N818  (never seen by users)
    """A tensor's shape is only known when values are."""


_NEEDS_VALUES = (UnknownShape, TypeError, ValueError, AttributeError, NotImplementedError, tf.errors.OpError)
"""What Python raises where a model takes a traced tensor for one with values; other errors are the model's own."""


class TracedLeaf:
    """A function of tensors, nested tuples and None, compiled for each combination of shapes.

    A model that asks for values while it runs (``numpy()``, ``if`` on a tensor) cannot be traced. That is found out
    once; from then on the function is called eagerly, unless ``eagerly`` forbids it.
    """

    def __init__(self, fn: Callable[..., Any], *, eagerly: bool = True) -> None:
        self.fn, self.eagerly = fn, eagerly
        self.needs_values = False
        self._traces = CompiledStore()

    def __call__(self, *tensors: Any) -> Any:
        if not self.needs_values:
            try:
                # traced apart from the call, which tells a model that cannot be traced from one that fails
                trace = self._trace(tensors)
            except WhenceError:
                raise
            except _NEEDS_VALUES as error:
                if not self.eagerly:
                    raise _untraceable(error) from error
            else:
                return trace(*tensors)
        result = self.fn(*tensors)
        self.needs_values = True
        return result

    def _trace(self, tensors: tuple[Any, ...]) -> Callable[..., Any]:
        leaves = tf.nest.flatten(tensors)
        shapes = tuple(None if x is None else (x.dtype, x.shape) for x in leaves)
        trace: Callable[..., Any] = self._traces.get(
            shapes, lambda: tf.function(self.fn, autograph=False).get_concrete_function(*tensors)
        )
        return trace


def _untraceable(error: Exception) -> CapabilityError:
    return CapabilityError(
        "backward rules on the operations of a model",
        valid="a model that tf.function can trace",
        received=f"one that cannot be traced ({type(error).__name__}: {error})",
    )


def with_known_shape(x: Any, rows: int) -> Any:
    """A traced tensor ``[rows, ...]`` whose batch axis was lost, as signatures with a free batch axis do."""
    if not isinstance(x, tf.Tensor) or x.shape.is_fully_defined():
        return x
    if x.shape.rank and x.shape[1:].is_fully_defined():
        return tf.ensure_shape(x, [rows, *x.shape[1:]])
    raise UnknownShape(x)
