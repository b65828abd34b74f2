"""Layer-wise relevance propagation (Bach et al. 2015, PLOS ONE 10(7)): the score, shared out layer by layer.

Each operation hands the relevance of its outputs to its inputs, in proportion to what these contributed. Written as a
changed derivative g, relevance is x g at every tensor, and so at the input. The rules are in ``lrp_rules``, those that
hand back relevance itself in ``lrp_input_rules``, and which goes where is in ``lrp_composites``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from whence.core.context import Context
from whence.core.engine import grad_over_points, identity
from whence.core.errors import ParameterError
from whence.core.inside import layer_gradients
from whence.core.method import Attribution
from whence.core.ops import Ops, Tensor
from whence.core.rule import Matcher, Rule, RuleSet
from whence.core.validation import non_negative, one_of
from whence.methods.conservation import Conserving, Relevance, arrives, sums
from whence.methods.gradient import input_times
from whence.methods.lrp_composites import COMPOSITES, EXACT, OTHERS
from whence.methods.lrp_input_rules import AnyEarly, from_the_input, has_direct, nothing


@dataclass(frozen=True, kw_only=True, repr=False)
class LRP(Conserving):
    """Relevance ``[B, ...]`` of the inputs for the score, by rules on operations.

    What does not arrive is in ``provenance.notes["absorbed"]``, per sample: relevance of biases, for the most part.

    ``composite``: which rule affine operations have, a key of ``whence.methods.lrp_composites.COMPOSITES``, or a
    ``whence.core.rule.RuleSet`` of one's own. Activations keep their relevance, products share it between their
    operands. ``overrides``: pairs (matcher, rule) that are asked before the composite's, by kind of operation, position
    or name of layer: ``(inside("features.0"), Gamma(0.5))``. ``epsilon`` keeps denominators from zero, ``gamma`` and
    ``alpha`` belong to the rules of that name. ``low`` and ``high``, for the box rule, bound the values that the first
    affine operation is given: numbers, or arrays that broadcast to one sample. With ``strict``, operations without a
    rule raise CoverageError; else they go by their derivative and are under ``"plain"`` in ``provenance.coverage``.

    Source: Bach et al. 2015, 10.1371/journal.pone.0130140; Montavon et al. 2019, 10.1007/978-3-030-28954-6_10.
    """

    name: ClassVar[str] = "lrp"

    composite: Any = "epsilon"
    overrides: tuple[tuple[Matcher, Rule], ...] = ()
    epsilon: float = 1e-6
    gamma: float = 0.25
    alpha: float = 2.0
    low: Any = None
    high: Any = None
    strict: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.composite, RuleSet):
            one_of("composite", self.composite, tuple(COMPOSITES))
        non_negative("epsilon", self.epsilon)
        non_negative("gamma", self.gamma)
        if not self.alpha >= 1:
            raise ParameterError("alpha", received=repr(self.alpha), valid="a number >= 1")
        object.__setattr__(self, "overrides", _pairs(self.overrides))
        if self.composite == "epsilon_gamma_box":
            for name, bound in zip(("low", "high"), _bounds(self.low, self.high), strict=True):
                object.__setattr__(self, name, bound)

    @property
    def rules(self) -> RuleSet:
        """The rule set that the fields mean."""
        if isinstance(self.composite, RuleSet):
            found = replace(self.composite, rules=(*self.overrides, *self.composite.rules))
        else:
            rules = (*self.overrides, *COMPOSITES[self.composite](self), *OTHERS)
            found = RuleSet(f"lrp_{self.composite}", rules, exact=EXACT, strict=self.strict)
        return replace(found, rules=from_the_input(found.rules)) if has_direct(found.rules) else found

    def relevance(self, ctx: Context, layers: Sequence[str]) -> Relevance:
        rules, ops = self.rules, ctx.ops
        under = ctx.under(rules)
        found = layer_gradients(under, layers, with_inputs=True)
        ctx.settle(under.score, under.target)
        direct = has_direct(rules.rules)
        behind = found.gradients
        if direct:
            # before the first layers derivatives are relevance already: there a stop at these cuts them off
            behind = layer_gradients(ctx.under(_stopped(rules)), layers, with_inputs=True).gradients
        at_layers: list[Any] = []
        for a, g, late in zip(found.activations, found.gradients, behind, strict=True):
            r = a * g if arrives(ops, late) else g
            at_layers.append(sums(ops, r) if arrives(ops, g) else None)
        inputs = found.inputs if direct else tuple(x * g for x, g in zip(ctx.x, found.inputs, strict=True))
        return Relevance(at_layers, inputs, ops.to_numpy(under.score).astype(np.float64))

    def compute(self, ctx: Context) -> Attribution:
        rules = self.rules
        under = ctx.under(rules)
        # behind a rule of first layers the cotangents are relevance already
        term = None if has_direct(rules.rules) else input_times
        found = grad_over_points(under, identity, samples=(ctx.x,), draws=(), count=1, term=term).total
        ctx.settle(under.score, under.target)
        return Attribution(found, notes={"absorbed": _absorbed(ctx.ops, under.score, found)})


def _stopped(rules: RuleSet) -> RuleSet:
    """The same, with nothing handed back past the first layers."""
    return replace(rules, name=f"{rules.name}, stopped", rules=((AnyEarly(), nothing), *rules.rules))


def _pairs(overrides: Any) -> tuple[tuple[Matcher, Rule], ...]:
    """Raise ParameterError unless these are pairs of a matcher and a rule."""
    try:
        pairs = tuple((matcher, rule) for matcher, rule in overrides)
    except (TypeError, ValueError):
        pairs = ((None, None),)
    if not all(callable(part) for pair in pairs for part in pair):
        raise ParameterError("overrides", received=repr(overrides), valid="pairs (matcher, rule), such as "
                             "((inside('features.0'), Flat()),)")  # fmt: skip
    return pairs


def _bounds(low: Any, high: Any) -> tuple[Any, Any]:
    """Both as numbers or nested tuples; raises ParameterError where one is missing or low is above high."""
    try:
        lowest, highest = (np.asarray(bound, np.float64) for bound in (low, high))
        fits = bool(np.isfinite(lowest).all() and np.isfinite(highest).all() and (lowest <= highest).all())
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ParameterError(
            "low and high of the box rule",
            received=f"low={low!r}, high={high!r}",
            valid="the least and greatest value of each input: two numbers, or arrays that broadcast to one sample, "
            "low <= high",
        )
    return _nested(lowest.tolist()), _nested(highest.tolist())


def _nested(value: Any) -> Any:
    return tuple(map(_nested, value)) if isinstance(value, list) else value


def _absorbed(ops: Ops, score: Tensor, relevance: Sequence[Tensor]) -> list[float]:
    """The score less the relevance of all inputs, per sample: what stayed with biases and in denominators."""
    arrived = np.sum([sums(ops, r) for r in relevance], axis=0)
    return [float(v) for v in ops.to_numpy(score).astype(np.float64) - arrived]
