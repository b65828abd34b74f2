"""DeepLIFT: contributions of differences from a reference, by one backward pass with multipliers for derivatives.

a = (x - x0) m, where m is the product of the multipliers Delta y / Delta x of the operations between, summed over paths
(Shrikumar, Greenside and Kundaje 2017, arXiv 1704.02685). DeepLIFTSHAP: its mean over a set of references (Lundberg and
Lee 2017, arXiv 1705.07874, section 4.2). The rules are in ``deep_lift_rules``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from whence.core import baselines, replacement
from whence.core.context import Context
from whence.core.inside import layer_activations, layer_multipliers
from whence.core.method import Attribution, Method
from whence.core.ops import Tensor
from whence.core.propagation import Propagated, from_references
from whence.core.rule import RuleSet
from whence.core.tree import flatten
from whence.core.validation import one_of, positive_int
from whence.methods.conservation import Conserving, Relevance, arrives, sums
from whence.methods.deep_lift_rules import RESCALE
from whence.methods.reveal_cancel import REVEAL_CANCEL

RULES: Mapping[str, RuleSet] = {"rescale": RESCALE, "reveal_cancel": REVEAL_CANCEL}


def the_baseline(x: Tensor, baseline: Tensor) -> Tensor:
    """x0 as given."""
    return baseline


@dataclass(frozen=True, kw_only=True, repr=False)
class DeepLIFT(Conserving):
    """DeepLIFT: attributions ``[B, ...]`` that sum to the score's change from the baseline.

    Works on operations, so that functional and reused nonlinearities, gelu, softmax, attention and normalisation count
    like any other; an operation without a rule of its own goes by its derivative averaged along the straight line, and
    is named under ``"fallback"`` in ``provenance.coverage``. With ``strict`` such a model raises CoverageError.
    ``baseline``: see ``whence.baselines``. ``rule``: ``"rescale"``, or ``"reveal_cancel"``, which tells positive from
    negative contributions to a nonlinearity that follows an affine operation, with scales and shifts between them or
    without. ``provenance.coverage`` names the two together; a nonlinearity named by itself goes by rescale.

    Source: Shrikumar, Greenside and Kundaje 2017, arXiv 1704.02685.
    """

    name: ClassVar[str] = "deep_lift"

    baseline: Any = "zeros"
    rule: str = "rescale"
    strict: bool = False

    def __post_init__(self) -> None:
        one_of("rule", self.rule, tuple(RULES))

    def relevance(self, ctx: Context, layers: Sequence[str]) -> Relevance:
        ops, x0 = ctx.ops, baselines.at_place(ctx, self.baseline)
        found = layer_multipliers(ctx.under(_rules(self)), layers, x0)
        come_to = [i for i, m in enumerate(found.gradients) if arrives(ops, m)]
        at_reference = ctx.moved(x0)
        references = layer_activations(at_reference, [layers[i] for i in come_to])
        at_layers: list[Any] = [None] * len(layers)
        for i, a0 in zip(come_to, references, strict=True):
            at_layers[i] = sums(ops, (found.activations[i] - a0) * found.gradients[i])
        contributions = tuple((x - b) * m for x, b, m in zip(ctx.x, x0, found.inputs, strict=True))
        change = ops.to_numpy(ctx.score).astype(np.float64) - ops.to_numpy(at_reference.score).astype(np.float64)
        return Relevance(at_layers, contributions, change)

    def compute(self, ctx: Context) -> Attribution:
        samples = (ctx.x, baselines.at_place(ctx, self.baseline))
        found = from_references(ctx, _rules(self), the_baseline, samples=samples, draws=(), count=1)
        return Attribution(found.values, baseline_score=found.reference_score)


def the_drawn_baseline(x: Tensor, baseline: Tensor) -> Tensor:
    """x0 as drawn, or a row of the data set."""
    return baseline + 0 * x


@dataclass(frozen=True, kw_only=True, repr=False)
class DeepLIFTSHAP(Method):
    """DeepLIFT averaged over a set of baselines: approximate SHAP values ``[B, ...]``.

    ``baseline``: an array or ``whence.baselines.DataSet`` of rows ``[M, ...]``, each of which is compared with each
    sample; or a distribution, of which ``n_samples`` draws are taken, with a standard error. The attributions sum to
    the score less its mean over the baselines. ``rule``, ``strict``: as for ``DeepLIFT``.

    Source: Lundberg and Lee 2017, arXiv 1705.07874, section 4.2.
    """

    name: ClassVar[str] = "deep_lift_shap"

    baseline: Any = "zeros"
    n_samples: int = 50
    rule: str = "rescale"
    strict: bool = False

    def __post_init__(self) -> None:
        one_of("rule", self.rule, tuple(RULES))
        positive_int("n_samples", self.n_samples)

    def compute(self, ctx: Context) -> Attribution:
        specs = flatten(self.baseline)[0]
        if any(isinstance(spec, baselines.Distribution) and not isinstance(spec, baselines.DataSet) for spec in specs):
            found = self._against(ctx, self._drawn(ctx), self.n_samples)
            std_error = tuple(m.std_error(ctx.ops) for m in found.moments)
            return Attribution(found.values, baseline_score=found.reference_score, std_error=std_error)
        arrays = all(getattr(spec, "shape", ()) for spec in specs)
        given = replacement.find(ctx, baselines.DataSet(self.baseline) if arrays else self.baseline)
        if not given.rows:
            found = from_references(ctx, _rules(self), the_baseline, samples=(ctx.x, *given.samples), draws=(), count=1)
        else:
            found = self._against(ctx, given.rows[0], given.count)
        return Attribution(found.values, baseline_score=found.reference_score)

    def _drawn(self, ctx: Context) -> Callable[[range, slice], Any]:
        return lambda points, samples: baselines.draws_at_place(ctx, self.baseline, points, samples)

    def _against(self, ctx: Context, rows: Callable[[range, slice], Any], count: int) -> Propagated:
        return from_references(ctx, _rules(self), the_drawn_baseline, samples=(ctx.x,), draws=(rows,), count=count)


def _rules(method: DeepLIFT | DeepLIFTSHAP) -> RuleSet:
    return replace(RULES[method.rule], strict=method.strict)
