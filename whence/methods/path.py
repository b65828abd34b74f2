"""Gradients integrated along the straight path from a baseline to the input.

IntegratedGradients: (x - x') * integral over alpha in [0, 1] of df/dx at x' + alpha (x - x')
(Sundararajan, Taly and Yan 2017, arXiv 1703.01365, equation 1).
GradientSHAP, expected gradients: E over x' and alpha ~ U(0, 1) of (x - x') * df/dx at x' + alpha (x - x')
(Erion et al. 2021, arXiv 1906.10670, equation 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from whence.core import baselines, quadrature
from whence.core.context import Context
from whence.core.engine import grad_over_points, scores_over_variants, straight_line
from whence.core.method import Attribution, Method
from whence.core.ops import Tensor
from whence.core.sampling import normal, uniform
from whence.core.tree import flatten
from whence.core.validation import integer, non_negative, one_of, positive_int
from whence.methods.adaptive import integrate_adaptively


@dataclass(frozen=True, kw_only=True, repr=False)
class IntegratedGradients(Method):
    """Integrated gradients: attributions ``[B, ...]`` that sum to the score's change from baseline to input.

    ``n_steps`` gradients at the nodes of ``rule``: ``"riemann_left"``, ``"riemann_right"``, ``"riemann_middle"``,
    ``"riemann_trapezoid"`` or ``"gauss_legendre"``. With ``tol`` the midpoint rule is refined per sample until the
    estimated relative error of the attributions is below it, up to ``max_steps`` gradients; ``n_steps`` and ``rule``
    are not used then. ``baseline``: see ``whence.baselines``.

    Source: Sundararajan, Taly and Yan 2017, arXiv 1703.01365.
    """

    name: ClassVar[str] = "integrated_gradients"

    baseline: Any = "zeros"
    n_steps: int = 50
    rule: str = "riemann_middle"
    tol: float | None = None
    max_steps: int = 1000

    def __post_init__(self) -> None:
        positive_int("n_steps", self.n_steps)
        positive_int("max_steps", self.max_steps)
        one_of("rule", self.rule, quadrature.RULES)
        if self.tol is not None:
            non_negative("tol", self.tol)
        elif self.rule == "riemann_trapezoid":
            quadrature.nodes_and_weights(self.rule, self.n_steps)

    def compute(self, ctx: Context) -> Attribution:
        x, baseline = ctx.x, baselines.at_place(ctx, self.baseline)
        notes: dict[str, Any] = {}
        if self.tol is None:
            alpha, weights = quadrature.nodes_and_weights(self.rule, self.n_steps)
            mean = grad_over_points(ctx, straight_line, samples=(x, baseline), draws=(alpha,), count=self.n_steps,
                                    weights=weights).total  # fmt: skip
        else:
            mean, notes = integrate_adaptively(ctx, x, baseline, self.tol, self.max_steps)
        values = tuple((a - b) * g for a, b, g in zip(x, baseline, mean, strict=True))
        return Attribution(values, baseline_score=ctx.score_of(baseline), notes=notes)


def noisy_line(x: Tensor, baseline: Tensor, alpha: Tensor, noise: Tensor) -> Tensor:
    """x' + alpha (x + noise - x')."""
    return baseline + alpha * (x + noise - baseline)


def noisy_path_term(gradient: Tensor, x: Tensor, baseline: Tensor, alpha: Tensor, noise: Tensor) -> Tensor:
    """(x + noise - x') df/dx."""
    return (x + noise - baseline) * gradient


def drawn(x: Tensor, baseline: Tensor) -> Tensor:
    """The drawn baseline as a variant of the sample."""
    return baseline + 0 * x


@dataclass(frozen=True, kw_only=True, repr=False)
class GradientSHAP(Method):
    """Expected gradients ``[B, ...]`` over a distribution of baselines, with their standard error.

    Each of ``n_samples`` draws takes a baseline x' from ``baseline`` (an array ``[M, ...]`` is a data set, or see
    ``whence.baselines``), a point alpha uniform on the path, and normal noise of ``stdev`` on the input. The
    completeness gap is taken to the mean score of the drawn baselines and contains the sampling error.

    Source: Erion et al. 2021, arXiv 1906.10670; Lundberg and Lee's GradientExplainer.
    """

    name: ClassVar[str] = "gradient_shap"

    baseline: Any = "zeros"
    n_samples: int = 50
    stdev: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        positive_int("n_samples", self.n_samples)
        non_negative("stdev", self.stdev)
        integer("seed", self.seed)

    def compute(self, ctx: Context) -> Attribution:
        distribution = self._distribution()

        def baseline(points: range, samples: slice) -> tuple[np.ndarray, ...]:
            return baselines.draws_at_place(ctx, distribution, points, samples)

        def alpha(points: range, samples: slice) -> np.ndarray:
            return ctx.draw(uniform, seed=self.seed, stream="gradient_shap/alpha", draws=points, samples=samples)

        def noise(points: range, samples: slice) -> Any:
            if self.stdev == 0:
                return np.zeros((len(points), len(ctx.sample_ids[samples])))
            return tuple(self.stdev * ctx.draw(normal, seed=self.seed, stream="gradient_shap/noise", draws=points,
                                               samples=samples, leaf=leaf) for leaf in range(len(ctx.x)))  # fmt: skip

        found = grad_over_points(ctx, noisy_line, samples=(ctx.x,), draws=(baseline, alpha, noise),
                                 count=self.n_samples, term=noisy_path_term, moments=True)  # fmt: skip
        scores = scores_over_variants(ctx, drawn, samples=(ctx.x,), draws=(baseline,), count=self.n_samples)
        return Attribution(
            found.total,
            baseline_score=ctx.ops.mean(scores, axis=0),
            std_error=tuple(m.std_error(ctx.ops) for m in found.moments),
        )

    def _distribution(self) -> Any:
        """Arrays are data sets of baselines here; everything else stays as given."""
        specs = flatten(self.baseline)[0]
        arrays = all(getattr(spec, "shape", ()) for spec in specs)
        return baselines.DataSet(self.baseline, seed=self.seed) if arrays else self.baseline
