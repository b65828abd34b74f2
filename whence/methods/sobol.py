"""Sobol indices of a grid of cells: how much of the score's variance under random masks is due to each cell.

    total_i = E[(f(A) - f(A with column i of B))^2] / (2 Var f)           (Jansen 1999)
    first_i = (Var f - E[(f(B) - f(A with column i of B))^2] / 2) / Var f

Fel et al. 2021, arXiv 2111.04138; masks in [0, 1] from scrambled Sobol sequences A and B of n rows each, cells
upsampled to the input by their nearest. Jansen 1999, doi 10.1016/S0010-4655(98)00154-4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from whence.core import replacement
from whence.core.coalitions import mean_over_rows
from whence.core.context import Context
from whence.core.feature_values import FeatureValues
from whence.core.method import Attribution, Method
from whence.core.validation import integer, one_of, positive_int
from whence.methods.grid_masks import GridMasks, sobol_sequence


@dataclass(frozen=True, kw_only=True, repr=False)
class Sobol(Method):
    """Sobol indices of the cells of a grid, ``[B, ...]``, shares of the score's variance under masks; not signed.

    ``n_samples`` rows in each of two designs, so that (cells + 2) ``n_samples`` variants are evaluated. ``grid``: cells
    along each spatial axis. ``order``: ``"total"`` (with all interactions) or ``"first"`` (alone). ``baseline`` shows
    through the mask. The standard error is that of a mean over rows, the variance taken as known. The same masks
    serve all samples. Inputs of whole numbers are held fixed.

    Source: Fel et al. 2021, arXiv 2111.04138; estimators: Jansen 1999, doi 10.1016/S0010-4655(98)00154-4.
    """

    name: ClassVar[str] = "sobol"
    needs_gradient: ClassVar[bool] = False
    shares_passes: ClassVar[bool] = True

    baseline: Any = "zeros"
    n_samples: int = 32
    grid: int | tuple[int, ...] = 8
    order: str = "total"
    seed: int = 0

    def __post_init__(self) -> None:
        positive_int("n_samples", self.n_samples)
        for size in self.grid if isinstance(self.grid, tuple) else (self.grid,):
            positive_int("grid", size)
        one_of("order", self.order, ("total", "first"))
        integer("seed", self.seed)

    def compute(self, ctx: Context) -> Attribution:
        masks = GridMasks.over(ctx, self.grid)
        n, cells = self.n_samples, masks.cells
        both = sobol_sequence(n, 2 * cells, self.seed)
        a, b = both[:, :cells], both[:, cells:]

        def design(row: np.ndarray) -> np.ndarray:
            """Masks by number: those of A, those of B, then those of A with one column of B after the other."""
            block, within = row // n, row % n
            z = np.where((block == 1)[:, None], b[within], a[within])
            column = block - 2
            swapped = (np.arange(cells) == column[:, None]) & (column >= 0)[:, None]
            return np.asarray(np.where(swapped, b[within], z))

        fill = replacement.find(ctx, self.baseline)
        scores = mean_over_rows(ctx, masks.scores(ctx, fill, design, (cells + 2) * n), fill.count)
        v = scores.reshape(cells + 2, n, ctx.batch)
        values, error = self._indices(v[0], v[1], v[2:])
        return Attribution(
            masks.spread(ctx, values), std_error=masks.spread(ctx, error),
            features=FeatureValues(values, (masks.names,), masks.numbers(ctx), error),
        )  # fmt: skip

    def _indices(self, fa: np.ndarray, fb: np.ndarray, swapped: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Indices and standard errors ``[B, cells]`` of scores ``[n, B]`` and ``[cells, n, B]``."""
        variance = np.concatenate([fa, fb]).var(axis=0)
        safe = np.where(variance > 0, variance, 1.0)
        terms = (fa - swapped) ** 2 / 2 if self.order == "total" else variance - (fb - swapped) ** 2 / 2
        terms = np.where(variance > 0, terms / safe, 0.0)
        n = terms.shape[1]
        error = terms.std(axis=1, ddof=1) / n**0.5 if n > 1 else np.full(terms[:, 0].shape, np.nan)
        return terms.mean(axis=1).T, error.T
