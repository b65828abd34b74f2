"""DeepLIFT's RevealCancel rule: positive and negative contributions to a nonlinearity have multipliers of their own.

z = sum_i w_i x_i + b feeds y = f(z). P sums the positive ones of w_i Delta x_i, N the negative ones, P + N = Delta z.
Averaged over the two orders in which P and N can come,

    Delta y+ = (f(z0 + P) - f(z0) + f(z0 + N + P) - f(z0 + N)) / 2,
    Delta y- = (f(z0 + N) - f(z0) + f(z0 + P + N) - f(z0 + P)) / 2

(Shrikumar, Greenside and Kundaje 2017, arXiv 1704.02685, section 3.5.3), which are the Shapley values of P and N.
Each product hands on the multiplier of its sign, Delta y+ / P or Delta y- / N, and the mean of both where
Delta x_i = 0 (section 3.5.2, the linear rule).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from whence.core.ops import Ops, Tensor
from whence.core.rule import OpCall, kind_is
from whence.methods.deep_lift_rules import RESCALE, Cotangents, slope


def reveal_cancel(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
    """g Delta y+ / P by products above zero, g Delta y- / N by those below."""
    affine, activation = op.steps
    (i,), (k,), (g,) = affine.data, activation.data, cotangents
    assert affine.ref_inputs is not None and activation.ref_inputs is not None
    change = affine.inputs[i] - affine.ref_inputs[i]
    z, z0 = activation.inputs[k], activation.ref_inputs[k]

    def over(a: Tensor, b: Tensor) -> Tensor:
        """g times the slope of f between two values."""
        y, y0 = (activation.call(*(v if j == k else c for j, c in enumerate(activation.inputs)))[0] for v in (a, b))
        return slope(ops, activation, a, b, y, y0, g)

    def multiplier(part: Tensor, other: Tensor) -> Tensor:
        """The mean of the slopes over the part, before and after the other."""
        return (over(z0 + part, z0) + over(z, z0 + other)) / 2

    up, down = ops.clip(change, min=0.0), ops.clip(change, max=0.0)
    positive = _signed(ops, affine, up, above=True) + _signed(ops, affine, down, above=False)
    negative = _signed(ops, affine, up, above=False) + _signed(ops, affine, down, above=True)
    by_positive, by_negative = multiplier(positive, negative), multiplier(negative, positive)
    where_up = _back(ops, affine, by_positive, above=True) + _back(ops, affine, by_negative, above=False)
    where_down = _back(ops, affine, by_positive, above=False) + _back(ops, affine, by_negative, above=True)
    found = (where_up + where_down + ops.sign(change) * (where_up - where_down)) / 2
    return tuple(found if j in op.data else None for j in range(len(op.inputs)))


def _signed(ops: Ops, affine: OpCall, x: Tensor, *, above: bool) -> Tensor:
    """The products of x with the weights above zero, or below, summed without the bias."""
    bias = affine.params.get("bias")
    weights = _weights(ops, affine, x, above)
    return affine.call(*(0 * w if j == bias else w for j, w in enumerate(weights)))[0]


def _back(ops: Ops, affine: OpCall, g: Tensor, *, above: bool) -> Tensor:
    """The derivative by x, of the weights above zero or below."""
    (i,) = affine.data
    found = affine.vjp(_weights(ops, affine, affine.inputs[i], above), [g])[i]
    assert found is not None
    return found


def _weights(ops: Ops, affine: OpCall, x: Tensor, above: bool) -> list[Tensor]:
    """The inputs with x for the data, and one sign of the weights."""

    def part(w: Tensor) -> Tensor:
        return ops.clip(w, min=0.0) if above else ops.clip(w, max=0.0)

    return [
        # some frameworks hand over sizes as well
        x if j in affine.data else part(w) if ops.is_floating(w) else w
        for j, w in enumerate(affine.inputs)
    ]


REVEAL_CANCEL = replace(
    RESCALE, name="deep_lift_reveal_cancel", rules=((kind_is("activated"), reveal_cancel), *RESCALE.rules)
)
"""DeepLIFT with RevealCancel where a nonlinearity follows an affine operation, and the rescale rule elsewhere."""
