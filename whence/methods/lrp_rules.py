"""Rules of layer-wise relevance propagation, as changed derivatives: relevance is R = x g at every tensor.

z is an affine operation's output, sum_i x_i w_i + b; x+ and x- are the positive and negative parts of its input, so for
weights and biases. A denominator is kept from zero by ``epsilon`` of its sign.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from whence.core.ops import Ops, Tensor
from whence.core.rule import OpCall, Pullback

Cotangents = tuple[Tensor | None, ...]
Pull = Callable[[Tensor], Tensor]
"""The cotangent of what carries data from that of the output."""


def stabilised(ops: Ops, z: Tensor, epsilon: float) -> Tensor:
    """z + epsilon sign(z), the sign of zero being positive."""
    return z + ops.where(z >= 0, ops.full_like(z, epsilon), ops.full_like(z, -epsilon))


@dataclass(frozen=True)
class Epsilon:
    """R_i = sum_j x_i w_ij / (z_j + epsilon sign z_j) R_j (Bach et al. 2015, equation 58)."""

    epsilon: float = 1e-6

    def __call__(self, ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
        (z,), (g,) = op.outputs, cotangents
        # z / (z + epsilon sign z), without a choice
        size = ops.abs(z)
        return op.vjp(op.inputs, [g * (size / (size + self.epsilon))])


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
        positive, pull = contributions(ops, op, positive=True)
        found = self.alpha * pull(g * z / stabilised(ops, positive, self.epsilon))
        if self.beta:
            negative, pull = contributions(ops, op, positive=False)
            found = found - self.beta * pull(g * z / stabilised(ops, negative, self.epsilon))
        return only(op, found)


@dataclass(frozen=True)
class Gamma:
    """Positive contributions weigh 1 + gamma: R_i = sum_j x_i (w_ij + gamma w_ij+) / sum(...) R_j (Montavon et al.).

    2019, LNCS 11700, section 10.2.3, for inputs and outputs of either sign: where z > 0, every positive product counts
    1 + gamma times, where z < 0 every negative one.
    """

    gamma: float = 0.25
    epsilon: float = 1e-6

    def __call__(self, ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
        (z,), (g,), zero = op.outputs, cotangents, ops.zeros_like(op.outputs[0])
        positive, pull_positive = contributions(ops, op, positive=True)
        negative, pull_negative = contributions(ops, op, positive=False)
        above = ops.where(z > 0, g * z / stabilised(ops, z + self.gamma * positive, self.epsilon), zero)
        below = ops.where(z < 0, g * z / stabilised(ops, z + self.gamma * negative, self.epsilon), zero)
        plain = op.vjp(op.inputs, [above + below])[op.data[0]]
        return only(op, plain + self.gamma * (pull_positive(above) + pull_negative(below)))


class Signed:
    """An affine operation by the sign of its weights, for any input in the place of its own.

    Where the operation is scaled by ``params["scale"]``, as by batch normalisation, its weights are w times the scale.
    """

    def __init__(self, ops: Ops, op: OpCall) -> None:
        self.ops, self.op, self.data = ops, op, op.data[0]
        self.scale, self.bias = op.params.get("scale"), op.params.get("bias")

    def _inputs(self, x: Tensor, positive: bool, factor_positive: bool, bias: bool) -> list[Tensor]:
        """The inputs with x in its place, one sign of the weights, and the bias of that sign or none."""
        parts = {False: self.ops.minimum, True: self.ops.maximum}
        found = []
        for i, value in enumerate(self.op.inputs):
            if not self.ops.is_floating(value):
                # some frameworks hand over sizes as well
                found.append(value)
                continue
            zeros = self.ops.zeros_like(value)
            sign = factor_positive if i == self.scale else positive if i == self.bias else positive == factor_positive
            is_left_out = i == self.bias and not bias
            found.append(x if i == self.data else zeros if is_left_out else parts[sign](value, zeros))
        return found

    def linearized(self, x: Tensor, *, positive: bool, bias: bool = False) -> tuple[Tensor, Pull]:
        """What it gives for x by weights of one sign, with that part of the ``bias`` or none, and its derivative."""
        (found,), pullback = self.op.linearized(self._inputs(x, positive, True, bias))
        if self.scale is None:
            return found, lambda g: self._pulled(pullback, g)
        (other,), other_pullback = self.op.linearized(self._inputs(x, positive, False, False))
        return found + other, lambda g: self._pulled(pullback, g) + self._pulled(other_pullback, g)

    def _pulled(self, pullback: Pullback, g: Tensor) -> Tensor:
        found = pullback([g])[self.data]
        assert found is not None
        return found

    def whole(self, x: Tensor) -> Tensor:
        """What it gives for x without its bias."""
        return self.op.call(
            *(x if i == self.data else self.ops.zeros_like(v) if i == self.bias else v
              for i, v in enumerate(self.op.inputs))
        )[0]  # fmt: skip


def contributions(ops: Ops, op: OpCall, *, positive: bool) -> tuple[Tensor, Pull]:
    """z+ or z-, the sum of the products x_i w_ij of one sign and the bias of that sign, and its derivative."""
    x, signed = op.inputs[op.data[0]], Signed(ops, op)
    if op.non_negative:
        return signed.linearized(x, positive=positive, bias=True)
    zeros = ops.zeros_like(x)
    above, pull_above = signed.linearized(ops.maximum(x, zeros), positive=positive, bias=True)
    below, pull_below = signed.linearized(ops.minimum(x, zeros), positive=not positive)
    return above + below, lambda g: ops.where(x >= 0, pull_above(g), pull_below(g))


def identity(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
    """R_in = R_out of an elementwise function: g y / x, its derivative where x = 0."""
    i = op.data[0]
    x, (y,), (g,) = op.inputs[i], op.outputs, cotangents
    return only(op, ops.where_zero(x, lambda: op.vjp(op.inputs, cotangents)[i], g * y / x))


def halves(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
    """Half of the relevance to each operand of a product (Achtibat et al. 2024, arXiv 2402.05602, equation 14)."""
    return tuple(None if g is None else g / 2 for g in op.vjp(op.inputs, cotangents))


def quotient_halves(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
    """Half to the numerator, half to the denominator, whose derivative has the other sign."""
    numerator, denominator = op.vjp(op.inputs, cotangents)
    assert numerator is not None and denominator is not None
    return numerator / 2, -denominator / 2


def has_statistic(op: OpCall) -> bool:
    """Match products and quotients by a statistic of the data, as a normalisation ends."""
    return op.params.get("statistic") is not None


def normalised(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
    """The statistic is held constant: what is normalised keeps its relevance (Achtibat et al. 2024, section 3.3.3)."""
    found = op.vjp(op.inputs, cotangents)
    statistic = op.data[op.params["statistic"]]
    return tuple(None if i == statistic else g for i, g in enumerate(found))


def derivative(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
    """Softmax by its own derivative, as one operation however it is written (Achtibat et al. 2024, equation 13)."""
    return op.vjp(op.inputs, cotangents)


def through(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Cotangents:
    """A stopped gradient does not stop relevance."""
    return only(op, cotangents[0])


def only(op: OpCall, cotangent: Tensor) -> Cotangents:
    """The same cotangent for all inputs that carry data."""
    return tuple(cotangent if i in op.data else None for i in range(len(op.inputs)))
