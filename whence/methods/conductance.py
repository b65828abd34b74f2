"""How a layer carries the change of the score from baseline to input.

LayerConductance: sum of ds/dy dy along the path (Dhamdhere, Sundararajan and Yan 2018, arXiv 1805.12233).
InternalInfluence: mean of ds/dy along the path (Leino et al. 2018, arXiv 1802.03788).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from whence.core import baselines, quadrature
from whence.core.context import Context
from whence.core.engine import straight_line
from whence.core.errors import ParameterError
from whence.core.inside import layer_gradient_along_path, layer_gradient_over_points
from whence.core.method import Attribution, Method
from whence.core.tree import SINGLE
from whence.core.validation import floating_leaves, one_of, positive_int

ENDS = {"riemann_left": (1.0, 0.0), "riemann_right": (0.0, 1.0), "riemann_trapezoid": (0.5, 0.5)}
"""The weights of the gradients at the beginning and at the end of a step."""


@dataclass(frozen=True, kw_only=True, repr=False)
class LayerPathMethod(Method):
    """Base of both: the inputs move from ``baseline`` to the sample; results ``[B, ...]`` are shaped like the layer."""

    needs_layers: ClassVar[bool] = True
    moves_to_layer: ClassVar[bool] = False

    baseline: Any = "zeros"
    n_steps: int = 50

    def __post_init__(self) -> None:
        positive_int("n_steps", self.n_steps)
        if not isinstance(self.layer, str):
            raise ParameterError("layer", received=repr(self.layer), valid=f"the name of a layer, for {self.name}")

    def require_inputs(self, ctx: Context) -> str:
        """The layer's name, once there is an input that can move."""
        floating_leaves(ctx.ops, ctx.place.structure.names, ctx.inputs)
        return str(self.layer)


@dataclass(frozen=True, kw_only=True, repr=False)
class LayerConductance(LayerPathMethod):
    """The score's change that flows through each unit of a layer: sums to it, so its completeness gap is reported.

    ``n_steps`` steps, so one more gradient; ``rule`` takes the gradient at a step's beginning (``"riemann_left"``), its
    end (``"riemann_right"``) or the mean of both (``"riemann_trapezoid"``). Units of score.
    Source: Dhamdhere, Sundararajan and Yan 2018, arXiv 1805.12233.
    """

    name: ClassVar[str] = "layer_conductance"

    rule: str = "riemann_trapezoid"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("rule", self.rule, ENDS)

    def compute(self, ctx: Context) -> Attribution:
        layer = self.require_inputs(ctx)
        baseline, alpha = baselines.at_place(ctx, self.baseline), np.linspace(0, 1, self.n_steps + 1)
        total = layer_gradient_along_path(ctx, layer, straight_line, samples=(ctx.x, baseline), draws=(alpha,),
                                          count=self.n_steps + 1, ends=ENDS[self.rule])  # fmt: skip
        return Attribution((total,), baseline_score=ctx.score_of(baseline), structure=SINGLE)


@dataclass(frozen=True, kw_only=True, repr=False)
class InternalInfluence(LayerPathMethod):
    """The mean gradient towards each unit of a layer along the path from baseline to input, in score per unit.

    ``rule``: as of ``IntegratedGradients``. Source: Leino et al. 2018, arXiv 1802.03788, definition 1.
    """

    name: ClassVar[str] = "internal_influence"

    rule: str = "riemann_middle"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("rule", self.rule, quadrature.RULES)
        quadrature.nodes_and_weights(self.rule, self.n_steps)

    def compute(self, ctx: Context) -> Attribution:
        layer = self.require_inputs(ctx)
        baseline = baselines.at_place(ctx, self.baseline)
        alpha, weights = quadrature.nodes_and_weights(self.rule, self.n_steps)
        mean = layer_gradient_over_points(ctx, layer, straight_line, samples=(ctx.x, baseline), draws=(alpha,),
                                          count=self.n_steps, weights=weights)  # fmt: skip
        return Attribution((mean,), structure=SINGLE)
