"""Rules of layer-wise relevance propagation for first layers, whose inputs are no activations: z-B, w-square, flat.

Relevance by these rules is no multiple of the input, and an input of zero has some. So they hand back relevance itself,
not a changed derivative: from the attributed input to the first affine operations, cotangents are relevance R, and
behind them derivatives g with R = x g, as in ``lrp_rules``. ``from_the_input`` makes rules for both parts of the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from whence.core.errors import CoverageError, ShapeError
from whence.core.ops import Ops, Tensor
from whence.core.rule import KINDS, Matcher, OpCall, Rule, all_of
from whence.methods.lrp_rules import Cotangents, Signed, derivative, only, stabilised


@dataclass(frozen=True)
class Flat:
    """R_i = sum_j R_j / n_j, n_j being the number of inputs of j.

    Source: Lapuschkin et al. 2019, 10.1038/s41467-019-08987-4.
    """

    direct: ClassVar[bool] = True
    places: ClassVar[bool] = True

    def __call__(self, ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
        require_first(self, op)
        return only(op, _by_weight(ops, op, cotangents, ops.ones_like))


@dataclass(frozen=True)
class WSquare:
    """R_i = sum_j w_ij^2 / sum_i w_ij^2 R_j, for inputs without bounds (Montavon et al. 2017)."""

    direct: ClassVar[bool] = True
    places: ClassVar[bool] = True

    def __call__(self, ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
        require_first(self, op)
        return only(op, _by_weight(ops, op, cotangents, lambda w: w * w))


@dataclass(frozen=True)
class Box:
    """z-B, for inputs between l = ``low`` and h = ``high`` (Montavon et al. 2017, 10.1016/j.patcog.2016.11.008).

    R_i = sum_j (x_i w_ij - l_i w_ij+ - h_i w_ij-) / sum_i (x_i w_ij - l_i w_ij+ - h_i w_ij-) R_j. The bounds are of
    what the first affine operation is given: numbers, or nested tuples that broadcast to one sample of it.
    """

    low: Any
    high: Any
    epsilon: float = 1e-6
    direct: ClassVar[bool] = True
    places: ClassVar[bool] = True

    def __call__(self, ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
        require_first(self, op)
        x, (z,), (g,) = op.inputs[op.data[0]], op.outputs, cotangents
        present = _present(ops, op, op.data[0])
        low, high = (present * _bound(ops, bound, x) for bound in (self.low, self.high))
        signed = Signed(ops, op)
        (lowest, pull_low), (highest, pull_high) = (
            signed.linearized(bound, positive=positive) for bound, positive in ((low, True), (high, False))
        )
        shared = g * z / stabilised(ops, signed.whole(x) - lowest - highest, self.epsilon)
        above, below = pull_low(shared), pull_high(shared)
        return only(op, x * (above + below) - low * above - high * below)


def _bound(ops: Ops, bound: Any, x: Tensor) -> Tensor:
    value, shape = np.asarray(bound, np.float64), ops.shape(x)
    try:
        np.broadcast_shapes(value.shape, shape[1:])
    except ValueError:
        raise ShapeError(
            "bounds of the inputs",
            received=f"shape {value.shape} where the first affine operation is given {shape[1:]}",
            valid="numbers, or arrays that broadcast to one sample",
        ) from None
    return ops.broadcast_to(ops.asarray(value, like=x), shape)


def _present(ops: Ops, op: OpCall, i: int) -> Tensor:
    """One at each value of an input, and zero at what the model padded with."""
    return op.present[i] if i in op.present else ops.ones_like(op.inputs[i])


def _by_weight(ops: Ops, op: OpCall, cotangents: Sequence[Tensor], size: Any) -> Tensor:
    """Relevance shared in proportion to ``size(w)``, whatever the inputs are; the bias has no part in it."""
    (z,), (g,) = op.outputs, cotangents
    given = [
        _present(ops, op, i) if i in op.data
        else ops.zeros_like(value) if i == op.params.get("bias")
        # some frameworks hand over sizes as well
        else size(value) if ops.is_floating(value) else value
        for i, value in enumerate(op.inputs)
    ]  # fmt: skip
    (total,) = op.call(*given)
    found = op.vjp(given, [_quotient(ops, g * z, total)])[op.data[0]]
    assert found is not None
    return given[op.data[0]] * found


def _quotient(ops: Ops, r: Tensor, total: Tensor) -> Tensor:
    """r / total, zero where there is nothing to share among."""
    nothing = total == 0
    return ops.where(nothing, ops.zeros_like(r), r / ops.where(nothing, ops.ones_like(total), total))


def require_first(rule: Any, op: OpCall) -> None:
    """Raise CoverageError for a rule of first layers at another one."""
    if op.early != op.data:
        raise CoverageError(
            f"the rule {type(rule).__name__} at {op.name}",
            received="an operation that other affine ones come before",
            valid="the first affine operations, whence.core.rule.is_first",
        )


# -- between the input and the first affine operations -------------------------------------------------------------
@dataclass(frozen=True)
class _Before:
    """Matches operations before the first affine ones."""

    kinds: tuple[str, ...]
    places: ClassVar[bool] = True

    def __call__(self, op: OpCall) -> bool:
        return op.kind in self.kinds and op.early == op.data


@dataclass(frozen=True)
class _Entering:
    """A rule whose early inputs are handed relevance: value times derivative."""

    rule: Rule

    def __call__(self, ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
        found = self.rule(ops, op, cotangents)
        return tuple(g if g is None or i not in op.early else op.inputs[i] * g for i, g in enumerate(found))


@dataclass(frozen=True)
class AnyEarly:
    """Matches what the attributed input goes into past no affine operation."""

    places: ClassVar[bool] = True

    def __call__(self, op: OpCall) -> bool:
        return bool(op.early) and op.kind != "discrete"


@dataclass(frozen=True)
class _HandingOn:
    """A rule that does not count as one in the coverage."""

    rule: Rule
    counts: ClassVar[bool] = False

    def __call__(self, ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Sequence[Tensor | None]:
        return self.rule(ops, op, cotangents)


def passed(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
    """A function value by value, before the first layer, keeps the relevance it is given."""
    return only(op, cotangents[0])


def shared(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
    """What is linear before the first layer shares relevance by the size of its weights: a reshape or a scale keeps it.

    The weights of one input have one sign at each output, so that their sizes add up to what it gives for ones.
    """

    def of_ones(at: int | None) -> tuple[Tensor, ...]:
        given = (ops.ones_like(x) if i == at else ops.zeros_like(x) if i in op.data else x
                 for i, x in enumerate(op.inputs))  # fmt: skip
        return op.call(*given)

    nothing = of_ones(None)
    weights = {i: [one - zero for one, zero in zip(of_ones(i), nothing, strict=True)] for i in op.data}
    totals = [sum(ops.abs(w) for w in of_output) for of_output in zip(*weights.values(), strict=True)]
    found: list[Tensor | None] = [None] * len(op.inputs)
    for i, own in weights.items():
        parts = [_quotient(ops, r * ops.sign(w), t) for r, w, t in zip(cotangents, own, totals, strict=True)]
        found[i] = op.vjp(op.inputs, parts)[i]
    return tuple(found)


def refused(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
    """No relevance is known for products and the like before the first layer."""
    raise CoverageError(
        "relevance by a rule of first layers",
        received=f"{op.name} between the input and the first affine operation",
        valid="functions value by value, sums, reshapes and maxima, or a composite without box, w-square and flat",
    )


def nothing(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
    """No relevance to what no affine operation comes before."""
    found = op.vjp(op.inputs, cotangents)
    return tuple(ops.zeros_like(op.inputs[i]) if i in op.early else g for i, g in enumerate(found))


def has_direct(rules: Sequence[tuple[Matcher, Rule]]) -> bool:
    """Whether some rule hands back relevance itself."""
    return any(getattr(rule, "direct", False) for _, rule in rules)


def from_the_input(rules: Sequence[tuple[Matcher, Rule]]) -> tuple[tuple[Matcher, Rule], ...]:
    """Rules with which the cotangent of the attributed input is its relevance, those of first layers among them."""
    before: tuple[tuple[Matcher, Rule], ...] = (
        (_Before(("elementwise", "relu", "stop_gradient")), _HandingOn(passed)),
        (_Before(("linear",)), _HandingOn(shared)),
        (_Before(("max_pool", "max", "min", "select")), _HandingOn(derivative)),
        (_Before(tuple(KINDS.keys() - {"affine", "activated", "discrete"})), refused),
    )
    early = AnyEarly()
    entering = ((all_of(early, m), r if getattr(r, "direct", False) else _Entering(r)) for m, r in rules)
    return (*before, *entering, (early, _HandingOn(_Entering(derivative))), *rules)
