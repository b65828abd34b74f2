"""Rules of layer-wise relevance propagation, as changed derivatives: relevance is R = x g at every tensor.

z is an affine operation's output, sum_i x_i w_i + b; x+ and x- are the positive and negative parts of its input, so for
weights and biases. A denominator is kept from zero by ``epsilon`` of its sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whence.core.ops import Ops, Tensor
from whence.core.rule import OpCall

Cotangents = tuple[Tensor | None, ...]


def stabilised(ops: Ops, z: Tensor, epsilon: float) -> Tensor:
    """z + epsilon sign(z), the sign of zero being positive."""
    return z + ops.where(z >= 0, ops.full_like(z, epsilon), ops.full_like(z, -epsilon))


@dataclass(frozen=True)
class Epsilon:
    """R_i = sum_j x_i w_ij / (z_j + epsilon sign z_j) R_j (Bach et al. 2015, equation 58)."""

    epsilon: float = 1e-6

    def __call__(self, ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
        (z,), (g,) = op.outputs, cotangents
        return op.vjp(op.inputs, [g * z / stabilised(ops, z, self.epsilon)])


@dataclass(frozen=True)
class AlphaBeta:
    """R_i = sum_j (alpha (x_i w_ij)+ / z_j+ - beta (x_i w_ij)- / z_j-) R_j (Bach et al. 2015, equation 60).

    z+ sums the positive products and the positive bias, z- the negative ones. alpha = 1, beta = 0 is the z-plus rule.
    """

    alpha: float = 2.0
    beta: float = 1.0
    epsilon: float = 1e-6

    def __call__(self, ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
        (z,), (g,) = op.outputs, cotangents
        parts, i = _Parts(ops, op), op.data[0]
        by_positive = g * z / stabilised(ops, parts.sum(same_sign=True), self.epsilon)
        active, inactive = parts.back(by_positive, same_sign=True)
        active, inactive = self.alpha * active, self.alpha * inactive
        if self.beta:
            by_negative = g * z / stabilised(ops, parts.sum(same_sign=False), self.epsilon)
            a, b = parts.back(by_negative, same_sign=False)
            active, inactive = active - self.beta * a, inactive - self.beta * b
        return _only(op, ops.where(op.inputs[i] > 0, active, inactive))


@dataclass(frozen=True)
class Gamma:
    """Positive contributions weigh 1 + gamma: R_i = sum_j x_i (w_ij + gamma w_ij+) / sum(...) R_j (Montavon et al.).

    2019, LNCS 11700, section 10.2.3, for inputs and outputs of either sign: where z > 0, every positive product counts
    1 + gamma times, where z < 0 every negative one.
    """

    gamma: float = 0.25
    epsilon: float = 1e-6

    def __call__(self, ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
        (z,), (g,) = op.outputs, cotangents
        parts, i, zero = _Parts(ops, op), op.data[0], ops.zeros_like(z)
        positive, negative = (parts.sum(same_sign=same) for same in (True, False))
        above = ops.where(z > 0, g * z / stabilised(ops, z + self.gamma * positive, self.epsilon), zero)
        below = ops.where(z < 0, g * z / stabilised(ops, z + self.gamma * negative, self.epsilon), zero)
        plain = op.vjp(op.inputs, [above + below])[i]
        up, down = parts.back(above, same_sign=True), parts.back(below, same_sign=False)
        more = ops.where(op.inputs[i] > 0, up[0] + down[0], up[1] + down[1])
        return _only(op, plain + self.gamma * more)


class _Parts:
    """An affine operation on the positive and negative parts of its input and of its weights."""

    def __init__(self, ops: Ops, op: OpCall) -> None:
        self.ops, self.op = ops, op
        x = op.inputs[op.data[0]]
        self.x = ops.maximum(x, ops.zeros_like(x)), ops.minimum(x, ops.zeros_like(x))

    def _inputs(self, x: Tensor, positive: bool, bias: bool) -> list[Tensor]:
        """The inputs with x in its place, one sign of the weights, and that of the bias or none."""
        part = self.ops.maximum if positive else self.ops.minimum
        found = []
        for i, value in enumerate(self.op.inputs):
            zeros = self.ops.zeros_like(value)
            is_left_out = i == self.op.params.get("bias") and not bias
            found.append(x if i in self.op.data else zeros if is_left_out else part(value, zeros))
        return found

    def sum(self, *, same_sign: bool) -> Tensor:
        """z+ where input and weight have the same sign, z- where they have not; with the bias of that sign."""
        (above,) = self.op.call(*self._inputs(self.x[0], same_sign, bias=True))
        (below,) = self.op.call(*self._inputs(self.x[1], not same_sign, bias=False))
        return above + below

    def back(self, g: Tensor, *, same_sign: bool) -> tuple[Tensor, Tensor]:
        """Derivatives for inputs above and below zero, by the weights whose products have the wanted sign."""
        i = self.op.data[0]
        above = self.op.vjp(self._inputs(self.x[0], same_sign, bias=True), [g])[i]
        below = self.op.vjp(self._inputs(self.x[1], not same_sign, bias=True), [g])[i]
        assert above is not None and below is not None
        return above, below


def identity(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
    """R_in = R_out of an elementwise function: g y / x, its derivative where x = 0."""
    i = op.data[0]
    x, (y,), (g,) = op.inputs[i], op.outputs, cotangents
    slope = op.vjp(op.inputs, cotangents)[i]
    return _only(op, ops.where(x == 0, slope, g * y / ops.where(x == 0, ops.ones_like(x), x)))


def halves(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
    """Half of the relevance to each operand of a product (Achtibat et al. 2024, arXiv 2402.05602, equation 14)."""
    return tuple(None if g is None else g / 2 for g in op.vjp(op.inputs, cotangents))


def quotient_halves(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
    """Half to the numerator, half to the denominator, whose derivative has the other sign."""
    numerator, denominator = op.vjp(op.inputs, cotangents)
    assert numerator is not None and denominator is not None
    return numerator / 2, -denominator / 2


def derivative(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
    """Softmax by its own derivative, as one operation however it is written (Achtibat et al. 2024, equation 13)."""
    return op.vjp(op.inputs, cotangents)


def through(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
    """A stopped gradient does not stop relevance."""
    return _only(op, cotangents[0])


def _only(op: OpCall, cotangent: Tensor) -> Cotangents:
    return tuple(cotangent if i in op.data else None for i in range(len(op.inputs)))
