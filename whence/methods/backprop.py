"""Gradients with another backward pass through relu.

GuidedBackprop: g_in = max(g_out, 0) where the unit was active (Springenberg et al. 2014, arXiv 1412.6806, section 3.4).
Deconvnet: g_in = max(g_out, 0), whether or not it was (Zeiler and Fergus 2014, arXiv 1311.2901, section 2.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from whence.core.context import Context
from whence.core.engine import grad_over_points, identity
from whence.core.method import Attribution, Method
from whence.core.rule import RuleSet
from whence.methods.rules import DECONVNET_RELU, GUIDED_RELU


@dataclass(frozen=True, kw_only=True, repr=False)
class _ThroughRelu(Method):
    """The gradient under a rule set."""

    rules: ClassVar[RuleSet]

    def compute(self, ctx: Context) -> Attribution:
        under = ctx.under(self.rules)
        gradient = grad_over_points(under, identity, samples=(ctx.x,), draws=(), count=1).total
        ctx.settle(under.score, under.target)
        return Attribution(gradient)


@dataclass(frozen=True, kw_only=True, repr=False)
class GuidedBackprop(_ThroughRelu):
    """The gradient that keeps, at every relu, what is positive and came through an active unit, ``[B, ...]``.

    Every relu counts, be it a layer, a function, a method or a maximum with zero, and however often a layer is used.
    CoverageError where the model has none, or where one cannot be reached.

    Source: Springenberg, Dosovitskiy, Brox and Riedmiller 2014, arXiv 1412.6806.
    """

    name: ClassVar[str] = "guided_backprop"
    rules: ClassVar[RuleSet] = GUIDED_RELU


@dataclass(frozen=True, kw_only=True, repr=False)
class Deconvnet(_ThroughRelu):
    """The gradient that keeps, at every relu, what is positive, whether or not the unit was active, ``[B, ...]``.

    Every relu counts, be it a layer, a function, a method or a maximum with zero, and however often a layer is used.
    CoverageError where the model has none, or where one cannot be reached.

    Source: Zeiler and Fergus 2014, arXiv 1311.2901.
    """

    name: ClassVar[str] = "deconvnet"
    rules: ClassVar[RuleSet] = DECONVNET_RELU
