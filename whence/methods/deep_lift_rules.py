"""DeepLIFT's rules: the multiplier of an operation, m = Delta y / Delta x between the input and a reference.

A rule takes the cotangents g of an operation's outputs to those of its inputs, such that the sum of Delta x times the
latter is the sum of Delta y times the former (Shrikumar, Greenside and Kundaje 2017, arXiv 1704.02685, equation 3).
x, y are values at the input, x0, y0 at the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from whence.core.ops import Ops, Tensor
from whence.core.quadrature import nodes_and_weights
from whence.core.rule import OpCall, RuleSet, kind_is

Cotangents = tuple[Tensor | None, ...]
LOWEST_LOG = -1e4
"""Stands for the logarithm of a probability that is zero, as of a masked position."""
PATH_STEPS = 24


def _epsilon(ops: Ops, x: Tensor) -> float:
    dtype = ops.dtype(x)
    return 2.0**-8 if dtype == "bfloat16" else float(np.finfo(dtype).eps)


def _tiny(ops: Ops, x: Tensor) -> float:
    dtype = ops.dtype(x)
    return 2.0**-126 if dtype == "bfloat16" else float(np.finfo(dtype).tiny)


def slope(ops: Ops, op: OpCall, x: Tensor, x0: Tensor, y: Tensor, y0: Tensor, g: Tensor) -> Tensor:
    """g Delta y / Delta x of an elementwise operation; the derivative midway where Delta x is lost in rounding.

    A smooth function changes to its derivative at the cube root of the precision, where both are equally good, one with
    kinks only where next to nothing is left of Delta x. For a relu it is max(x, x0) / |Delta x|, kept within 0 and 1.
    """
    if op.params.get("power") is not None:
        return g * SLOPES_OF_POWERS[op.params["power"]](x, x0, y, y0)
    epsilon, change = _epsilon(ops, x), x - x0
    if op.kind == "relu":
        # the least number there is stands for a Delta x of zero
        return g * ops.clip(ops.maximum(x, x0) / (ops.abs(change) + _tiny(ops, x)), 0.0, 1.0)
    near, midway = epsilon * 2**10 if op.params.get("kinked") else epsilon ** (1 / 3), (x + x0) / 2
    is_near = ops.abs(change) <= near * ops.abs(midway)
    (i,) = op.data
    derivative = _present(op.vjp(_at(op, i, midway), [g])[i])
    return ops.where(is_near, derivative, g * (y - y0) / change)


SLOPES_OF_POWERS: Mapping[float, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    2.0: lambda x, x0, y, y0: x + x0,
    0.5: lambda x, x0, y, y0: 1 / (y + y0),
    -0.5: lambda x, x0, y, y0: -y * y0 / (1 / y + 1 / y0),
    -1.0: lambda x, x0, y, y0: -y * y0,
}
"""Delta y / Delta x of y = x^power, of (x, x0, y, y0) without a difference."""


def rescale(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
    """g Delta y / Delta x, element by element (section 3.5.1)."""
    ((i, x, x0),) = _data(op)
    (y,), (y0,), (g,) = op.outputs, op.ref_outputs or (), cotangents
    return _only(op, i, slope(ops, op, x, x0, y, y0, g))


def product(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
    """Of an operation linear in each of two operands: its derivative midway, which is the Shapley value of the two."""
    return op.vjp(_midway(op), cotangents)


def quotient(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
    """a / c as the product of a and 1 / c, whose change is -Delta c / (c c0)."""
    (a, c), (a0, c0) = op.inputs, op.ref_inputs or ()
    by_numerator = op.vjp((a, 2 / (1 / c + 1 / c0)), cotangents)[0]
    by_denominator = op.vjp(((a + a0) / 2, ops.ones_like(c)), cotangents)[1]
    return by_numerator, None if by_denominator is None else by_denominator / (c * c0)


def extreme(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
    """Maxima: what y exceeds y0 by goes to the position of y, what it lacks to that of y0 (SHAP's rule for pools)."""
    assert op.ref_inputs is not None and op.ref_outputs is not None
    (y,), (y0,) = op.outputs, op.ref_outputs
    (g,) = cotangents
    between = ops.minimum(y, y0) if op.kind == "min" else ops.maximum(y, y0)
    at_input = op.vjp(op.inputs, [g * (between - y0)])
    at_reference = op.vjp(_between(op, 0.0), [g * (y - between)])
    found: list[Tensor | None] = [None] * len(op.inputs)
    for i, x, x0 in _data(op):
        change = x - x0
        share, is_zero = _present(at_input[i]) + _present(at_reference[i]), change == 0
        found[i] = ops.where(is_zero, 0.0, share / ops.where(is_zero, 1.0, change))
    return tuple(found)


def log_mean(ops: Ops, p: Tensor, p0: Tensor, log_change: Tensor) -> Tensor:
    """The logarithmic mean (p - p0) / (log p - log p0) = max(p, p0) (1 - exp(-|d|)) / |d|, d = log p - log p0."""
    # the quotient is 1 within rounding where d is as small as what is added
    fall = -(_epsilon(ops, p) ** 2) - ops.abs(log_change)
    return ops.maximum(p, p0) * (ops.expm1(fall) / fall)


def softmax(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
    """The derivative of softmax with the logarithmic mean l of p and p0 in the place of p: l (g - sum(l g) / sum(l)).

    sum(Delta x l (g - sum(l g) / sum(l))) = sum(g Delta p), since Delta log p = Delta x - Delta log sum exp(x), and
    l Delta log p = Delta p sums to zero.
    """
    ((i, x, x0),) = _data(op)
    (p,), (p0,), (g,), axis = op.outputs, op.ref_outputs or (), cotangents, op.params["axis"]
    mean = log_mean(ops, p, p0, _log_of(ops, p, x, axis) - _log_of(ops, p0, x0, axis))
    share = ops.sum(mean * g, axis=axis, keepdims=True) / ops.sum(mean, axis=axis, keepdims=True)
    return _only(op, i, mean * (g - share))


def log_softmax(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
    """The derivative, with l in the place of p: for log_softmax g - l sum(g) / sum(l), for logsumexp g l / sum(l)."""
    ((i, x, x0),) = _data(op)
    log_p, log_p0 = (_log_softmax(ops, v, op.params["axis"]) for v in (x, x0))
    mean = log_mean(ops, ops.exp(log_p), ops.exp(log_p0), log_p - log_p0)
    return op.vjp(_at(op, i, ops.log(mean)), cotangents)


def through(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
    """A stopped gradient is the identity in a difference."""
    return _only(op, op.data[0], cotangents[0])


def along_the_path(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
    """The derivative averaged along the straight line from x0 to x: complete for any operation, but for quadrature."""
    found: list[Tensor | None] = [None] * len(op.inputs)
    for t, weight in zip(*nodes_and_weights("gauss_legendre", PATH_STEPS), strict=True):
        for i, part in enumerate(op.vjp(_between(op, float(t)), cotangents)):
            if part is not None:
                found[i] = float(weight) * part if found[i] is None else found[i] + float(weight) * part
    return tuple(found)


# -- the operation's values ----------------------------------------------------------------------------------------
def _data(op: OpCall) -> list[tuple[int, Tensor, Tensor]]:
    """Position and values at input and reference of the inputs that depend on the data."""
    assert op.ref_inputs is not None
    return [(i, op.inputs[i], op.ref_inputs[i]) for i in op.data]


def _between(op: OpCall, t: float) -> list[Tensor]:
    """The inputs at x0 + t (x - x0)."""
    values = list(op.inputs)
    for i, x, x0 in _data(op):
        values[i] = x0 if t == 0 else x0 + t * (x - x0)
    return values


def _midway(op: OpCall) -> list[Tensor]:
    values = list(op.inputs)
    for i, x, x0 in _data(op):
        values[i] = (x + x0) / 2
    return values


def _at(op: OpCall, i: int, value: Tensor) -> list[Tensor]:
    """The inputs with another value at position i."""
    return [value if j == i else x for j, x in enumerate(op.inputs)]


def _only(op: OpCall, i: int, cotangent: Tensor) -> Cotangents:
    return tuple(cotangent if j == i else None for j in range(len(op.inputs)))


def _present(cotangent: Tensor | None) -> Tensor:
    assert cotangent is not None
    return cotangent


def _log_of(ops: Ops, p: Tensor, x: Tensor, axis: int | tuple[int, ...]) -> Tensor:
    """log p of a softmax p of x, also where p is lost to zero: x less log sum exp(x), which the largest p tells."""
    total = ops.max(x, axis=axis, keepdims=True) - ops.log(ops.max(p, axis=axis, keepdims=True))
    return ops.clip(x - total, min=LOWEST_LOG)


def _log_softmax(ops: Ops, x: Tensor, axis: int | tuple[int, ...]) -> Tensor:
    shifted = x - ops.max(x, axis=axis, keepdims=True)
    found = shifted - ops.log(ops.sum(ops.exp(shifted), axis=axis, keepdims=True))
    return ops.clip(found, min=LOWEST_LOG)


# -- rule sets -----------------------------------------------------------------------------------------------------
EXACT_RULES = (
    (kind_is("mul", "matmul", "conv"), product),
    (kind_is("div"), quotient),
    (kind_is("max_pool", "max", "min"), extreme),
    (kind_is("softmax"), softmax),
    (kind_is("log_softmax", "logsumexp"), log_softmax),
    (kind_is("stop_gradient"), through),
)
RESCALE = RuleSet(
    "deep_lift_rescale",
    ((kind_is("relu", "elementwise"), rescale), *EXACT_RULES),
    fallback=along_the_path,
    reference=True,
)
"""DeepLIFT with the rescale rule for nonlinearities."""
