"""Checks with one form of message, for hyper-parameters when a method is made and for data when it is called."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import isfinite, prod
from numbers import Integral, Real
from typing import Any

import numpy as np

from whence.core.errors import DTypeError, NonFiniteError, ParameterError, ShapeError
from whence.core.ops import Ops, Tensor

SMALL = 2**16
"""Arrays of so few numbers are looked at on the host: a program of the framework's costs more."""


def positive_int(name: str, value: Any) -> None:
    """Raise ParameterError unless ``value`` is an int >= 1."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ParameterError(name, received=repr(value), valid="an int >= 1")


def integer(name: str, value: Any) -> None:
    """Raise ParameterError unless ``value`` is an int, as seeds are."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ParameterError(name, received=repr(value), valid="an int")


def non_negative(name: str, value: Any) -> None:
    """Raise ParameterError unless ``value`` is a finite number >= 0."""
    if not isinstance(value, Real) or isinstance(value, bool) or not isfinite(value) or value < 0:
        raise ParameterError(name, received=repr(value), valid="a finite number >= 0")


def one_of(name: str, value: Any, choices: Collection[str]) -> None:
    """Raise ParameterError unless ``value`` is one of the named choices."""
    if value not in choices:
        raise ParameterError(name, received=repr(value), valid="one of " + ", ".join(choices))


def batch_of(ops: Ops, names: Sequence[str], leaves: Sequence[Tensor]) -> int:
    """The common batch size; raises ShapeError for a missing, empty or unequal batch axis."""
    shapes = [ops.shape(leaf) for leaf in leaves]
    for name, shape in zip(names, shapes, strict=True):
        if not shape:
            raise ShapeError(name, received="a tensor without axes", valid="[B, ...], samples on the first axis")
        if shape[0] == 0:
            raise ShapeError(name, received=f"an empty batch, shape {shape}", valid="at least one sample")
    if len({shape[0] for shape in shapes}) > 1:
        raise ShapeError(
            "inputs of one batch",
            valid="the same number of samples in each",
            received=", ".join(f"{n} {s}" for n, s in zip(names, shapes, strict=True)),
        )
    return shapes[0][0]


def floating_leaves(ops: Ops, names: Sequence[str], leaves: Sequence[Tensor]) -> tuple[int, ...]:
    """Positions of the floating-point inputs; raises DTypeError where there is none to attribute."""
    found = tuple(i for i, leaf in enumerate(leaves) if ops.is_floating(leaf))
    if not found:
        received = ", ".join(f"{name} of {ops.dtype(leaf)}" for name, leaf in zip(names, leaves, strict=True))
        raise DTypeError(
            "attributions of the inputs",
            received=received,
            valid="floating-point inputs, since whole numbers have no gradient; "
            "for tokens and categories name the embedding layer with layer=...",
        )
    return found


def require_finite(ops: Ops, what: str, x: Tensor) -> None:
    """Raise NonFiniteError naming the samples (rows) of ``x`` that hold NaN or infinity."""
    if not ops.is_floating(x):
        return
    shape = ops.shape(x)
    axes = tuple(range(1, len(shape)))
    if prod(shape) <= SMALL:
        each = np.isfinite(ops.to_numpy(x))
        if each.all():
            return
        fine = each.all(axis=axes)
    else:
        # a sum is finite only if all its terms are, and costs less than asking each of them
        if np.isfinite(ops.to_numpy(ops.sum(x, axis=axes) if axes else x)).all():
            return
        fine = ops.to_numpy(ops.all(ops.isfinite(x), axis=axes) if axes else ops.isfinite(x))
    bad = np.flatnonzero(~np.asarray(fine, bool))
    if len(bad):
        shown = ", ".join(str(i) for i in bad[:8]) + (", ..." if len(bad) > 8 else "")
        raise NonFiniteError(
            what,
            received=f"NaN or infinity in sample{'s' if len(bad) > 1 else ''} {shown}",
            valid="finite numbers",
        )


def all_zero(ops: Ops, x: Tensor) -> bool:
    """Whether every number of ``x`` is zero."""
    if prod(ops.shape(x)) <= SMALL:
        return not np.any(ops.to_numpy(x))
    # nearly always the sum tells
    return not bool(ops.to_numpy(ops.sum(x))) and not bool(ops.to_numpy(ops.any(x != 0)))


def positive_tolerance(value: Any) -> None:
    """Raise ParameterError unless ``tol`` is None or a finite number above 0."""
    if value is not None:
        non_negative("tol", value)
        if value == 0:
            raise ParameterError("tol", received=repr(value), valid="a number above 0, or None")


def positive(name: str, value: Any) -> None:
    """Raise ParameterError unless ``value`` is a finite number above 0."""
    non_negative(name, value)
    if value == 0:
        raise ParameterError(name, received=repr(value), valid="a number above 0")
