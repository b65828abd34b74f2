"""HSIC attribution: how much the score depends on each cell of a random mask, by the Hilbert-Schmidt criterion.

    HSIC_i = trace(K_i H L H) / (n - 1)^2,  H = I - 1 1' / n
    K_i = kernel of cell i's states, L = exp(-(y - y')^2 / (2 w^2))

Novello, Fel and Vigouroux 2022, arXiv 2206.06219, equation 5; Gretton et al. 2005, doi 10.1007/11564089_7. Cells are
on or off with probability one half, K_i the indicator that both are alike minus one half, w the median of |y - y'|.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from whence.core import designs, replacement
from whence.core.coalitions import mean_over_rows
from whence.core.context import Context
from whence.core.feature_values import FeatureValues
from whence.core.method import Attribution, Method
from whence.core.validation import integer, positive_int
from whence.methods.grid_masks import GridMasks

GROUPS = 5


@dataclass(frozen=True, kw_only=True, repr=False)
class HSIC(Method):
    """The Hilbert-Schmidt dependence of the score on each cell of a random mask: ``[B, ...]``, not signed, no unit.

    ``n_samples`` masks of ``grid`` cells along each spatial axis, each on or off; ``baseline`` shows where it is off.
    The standard error is a delete-a-group jackknife over five groups of masks. The same masks serve all samples. Inputs
    of whole numbers are held fixed.

    Source: Novello, Fel and Vigouroux 2022, arXiv 2206.06219.
    """

    name: ClassVar[str] = "hsic"
    needs_gradient: ClassVar[bool] = False
    shares_passes: ClassVar[bool] = True

    baseline: Any = "zeros"
    n_samples: int = 500
    grid: int | tuple[int, ...] = 8
    seed: int = 0

    def __post_init__(self) -> None:
        positive_int("n_samples", self.n_samples)
        for size in self.grid if isinstance(self.grid, tuple) else (self.grid,):
            positive_int("grid", size)
        integer("seed", self.seed)

    def compute(self, ctx: Context) -> Attribution:
        masks = GridMasks.over(ctx, self.grid)
        z = designs.on_off("independent", self.n_samples, masks.cells, 0.5, seed=self.seed, stream="hsic")
        fill = replacement.find(ctx, self.baseline)
        states = z.astype(np.float64)
        scores = mean_over_rows(ctx, masks.scores(ctx, fill, lambda row: states[row], len(z)), fill.count)
        values = np.stack([criterion(states, y) for y in scores.T])
        parts = min(GROUPS, len(z) // 2)
        error = np.full(values.shape, np.nan)
        if parts > 1:
            group = np.arange(len(z)) % parts
            without = np.stack([[criterion(states[group != g], y[group != g]) for y in scores.T] for g in range(parts)])
            error = np.sqrt((parts - 1) / parts * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
        return Attribution(
            masks.spread(ctx, values), std_error=masks.spread(ctx, error),
            features=FeatureValues(values, (masks.names,), masks.numbers(ctx), error),
        )  # fmt: skip


def criterion(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """HSIC ``[cells]`` between states ``z[n, cells]`` of 0 and 1 and scores ``y[n]``.

    The kernel of states s = 2 z - 1 is s s' / 2, so that the trace is a quadratic form of each cell's states.
    """
    n, gap = len(y), np.abs(y[:, None] - y)
    width = np.median(gap[np.triu_indices(n, 1)]) if n > 1 else 0.0
    kernel = np.exp(-(gap**2) / (2 * (width or 1.0) ** 2))
    kernel = kernel - kernel.mean(axis=0) - kernel.mean(axis=1)[:, None] + kernel.mean()
    states = 2 * z - 1
    return np.asarray(((kernel @ states) * states).sum(axis=0) / 2 / max(n - 1, 1) ** 2)
