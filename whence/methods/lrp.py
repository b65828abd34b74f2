"""Layer-wise relevance propagation (Bach et al. 2015, PLOS ONE 10(7)): the score, shared out layer by layer.

Each operation hands the relevance of its outputs to its inputs, in proportion to what these contributed. Written as a
changed derivative g, relevance is x g at every tensor, and so at the input. The rules are in ``lrp_rules``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from whence.core.context import Context
from whence.core.engine import grad_over_points, identity
from whence.core.errors import ParameterError
from whence.core.method import Attribution, Method
from whence.core.ops import Ops, Tensor
from whence.core.rule import Kind, Matcher, OpCall, Rule, RuleSet
from whence.core.validation import non_negative, one_of
from whence.methods.gradient import input_times
from whence.methods.lrp_rules import AlphaBeta, Epsilon, Gamma, derivative, halves, quotient_halves, through
from whence.methods.lrp_rules import identity as kept

ACTIVATIONS: tuple[tuple[Matcher, Rule], ...] = (
    (Kind(("elementwise",)), kept),
    (Kind(("mul", "matmul", "conv")), halves),
    (Kind(("div",)), quotient_halves),
    (Kind(("stop_gradient",)), through),
    (Kind(("softmax", "log_softmax", "logsumexp")), derivative),
)
"""What every composite does with activations and products."""
EXACT = ("linear", "discrete", "relu", "max_pool", "max", "min")
"""Kinds whose own derivative is the rule: relevance stays where a maximum is, and a relu or sum keeps it."""


def is_convolution(op: OpCall) -> bool:
    """An affine operation that convolves."""
    return op.kind == "affine" and bool(op.params.get("conv"))


COMPOSITES: dict[str, Callable[[LRP], tuple[tuple[Matcher, Rule], ...]]] = {
    "epsilon": lambda m: ((Kind(("affine",)), Epsilon(m.epsilon)),),
    "gamma": lambda m: ((Kind(("affine",)), Gamma(m.gamma, m.epsilon)),),
    "z_plus": lambda m: ((Kind(("affine",)), AlphaBeta(1.0, 0.0, m.epsilon)),),
    "alpha_beta": lambda m: ((Kind(("affine",)), AlphaBeta(m.alpha, m.alpha - 1, m.epsilon)),),
    "epsilon_plus": lambda m: (
        (is_convolution, AlphaBeta(1.0, 0.0, m.epsilon)),
        (Kind(("affine",)), Epsilon(m.epsilon)),
    ),
    "epsilon_gamma": lambda m: ((is_convolution, Gamma(m.gamma, m.epsilon)), (Kind(("affine",)), Epsilon(m.epsilon))),
}


@dataclass(frozen=True, kw_only=True, repr=False)
class LRP(Method):
    """Relevance ``[B, ...]`` of the inputs for the score, by rules on operations.

    What does not arrive is in ``provenance.notes["absorbed"]``, per sample: relevance of biases, for the most part.

    ``composite``: which rule affine operations have, ``"epsilon"``, ``"gamma"``, ``"z_plus"``, ``"alpha_beta"`` (with
    beta = alpha - 1), ``"epsilon_plus"`` (z-plus for convolutions, epsilon elsewhere), ``"epsilon_gamma"`` (gamma for
    convolutions), or a ``whence.core.rule.RuleSet`` of one's own. Activations keep their relevance, products share it
    between their operands. ``epsilon`` keeps denominators from zero. With ``strict``, operations without a rule raise
    CoverageError; else they go by their derivative and are named under ``"plain"`` in ``provenance.coverage``.

    Source: Bach et al. 2015, 10.1371/journal.pone.0130140; Montavon et al. 2019, 10.1007/978-3-030-28954-6_10.
    """

    name: ClassVar[str] = "lrp"

    composite: Any = "epsilon"
    epsilon: float = 1e-6
    gamma: float = 0.25
    alpha: float = 2.0
    strict: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.composite, RuleSet):
            one_of("composite", self.composite, tuple(COMPOSITES))
        non_negative("epsilon", self.epsilon)
        non_negative("gamma", self.gamma)
        if not self.alpha >= 1:
            raise ParameterError("alpha", received=repr(self.alpha), valid="a number >= 1")

    @property
    def rules(self) -> RuleSet:
        """The rule set that the fields mean."""
        if isinstance(self.composite, RuleSet):
            return self.composite
        rules = (*COMPOSITES[self.composite](self), *ACTIVATIONS)
        return RuleSet(f"lrp_{self.composite}", rules, exact=EXACT, strict=self.strict)

    def compute(self, ctx: Context) -> Attribution:
        under = ctx.under(self.rules)
        found = grad_over_points(under, identity, samples=(ctx.x,), draws=(), count=1, term=input_times).total
        ctx.settle(under.score, under.target)
        return Attribution(found, notes={"absorbed": _absorbed(ctx.ops, under.score, found)})


def _absorbed(ops: Ops, score: Tensor, relevance: Sequence[Tensor]) -> list[float]:
    """The score less the relevance of all inputs, per sample: what stayed with biases and in denominators."""
    sums = [ops.to_numpy(r).astype(np.float64).reshape(len(r), -1).sum(axis=1) for r in relevance]
    return [float(v) for v in ops.to_numpy(score).astype(np.float64) - np.sum(sums, axis=0)]
