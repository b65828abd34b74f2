"""RISE: the mean score over random masks, for each position over the masks that let it through.

    a(position) = E[f(x m + x' (1 - m)) m(position)] / E[m]

Petsiuk, Das and Saenko 2018, arXiv 1806.07421, equation 6; x' is black there. m is a small grid of cells, each on with
probability p, upsampled bilinearly and shifted by less than a cell.

Two ways to need fewer masks for the same map, both used unless told otherwise: grids from Hadamard matrices, so that
cells and pairs of cells are balanced; and a control variate, the linear part of the score in the cells, whose map is
known exactly: E[z_c m] = p^2 + p (1 - p) w_c, w_c the mean weight of cell c at the position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any, ClassVar

import numpy as np
from einops import einsum

from whence.core import designs, replacement
from whence.core.coalitions import mean_over_rows
from whence.core.context import Context
from whence.core.engine import host_scores_over_variants
from whence.core.method import Attribution, Method
from whence.core.ops import Ops, Tensor
from whence.core.sampling import generator
from whence.core.validation import integer, positive_int
from whence.methods.soft_masks import Cells


@dataclass(frozen=True)
class Dimmed:
    """x m + x' (1 - m) with the mask m made on the device from its grid and one small matrix per axis."""

    ops: Ops
    channel: int | None
    """The axis of channels in ``[B, ...]``, which share a mask; None where each number has its own."""

    def __call__(self, x: Tensor, *values: Tensor) -> Tensor:
        """``[k, b, ...]`` from the baseline, the grid ``[k, 1, g...]`` and the sides ``[k, 1, length, g]``."""
        baseline, grid, sides = values[0], values[1], values[2:]
        mask = self._without_tail(grid, 2 + len(sides))
        for side in sides:  # each takes the first axis of the grid and puts the position last
            mask = einsum(mask, self._without_tail(side, 4), "k b g ..., k b p g -> k b ... p")
        if self.channel is not None:
            mask = mask[(*(slice(None),) * (self.channel + 1), None)]
        return baseline + mask * (x - baseline)

    def _without_tail(self, x: Tensor, rank: int) -> Tensor:
        """Without the axes of length one that the engine appended."""
        return x[(..., *(0,) * (len(self.ops.shape(x)) - rank))]


@dataclass(frozen=True, kw_only=True, repr=False)
class RISE(Method):
    """The mean score over random masks, weighted by how much each position was let through: ``[B, ...]``.

    In units of score: 0 where a position is irrelevant is not to be expected, differences between positions count.
    ``n_samples`` masks of ``grid`` cells per axis (an int or one per spatial axis), on with ``probability``; where
    ``baseline`` shows through the mask. ``sampling``: ``"hadamard"`` (balanced; probability 0.5 only) or
    ``"independent"``. ``control_variate``: subtract the linear part of the score before averaging and add its exact
    map. The same masks serve all samples. Inputs of whole numbers are held fixed.

    Source: Petsiuk, Das and Saenko 2018, arXiv 1806.07421.
    """

    name: ClassVar[str] = "rise"
    needs_gradient: ClassVar[bool] = False
    shares_passes: ClassVar[bool] = True

    baseline: Any = "zeros"
    n_samples: int = 2000
    grid: int | tuple[int, ...] = 7
    probability: float = 0.5
    sampling: str = "hadamard"
    control_variate: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        positive_int("n_samples", self.n_samples)
        for size in self.grid if isinstance(self.grid, tuple) else (self.grid,):
            positive_int("grid", size)
        designs.check(self.sampling, self.probability)
        integer("seed", self.seed)

    def compute(self, ctx: Context) -> Attribution:
        fill, n, p = replacement.find(ctx, self.baseline), self.n_samples, self.probability
        leaves = [Cells.over(ctx, leaf, self.grid) for leaf in range(len(ctx.x))]
        first = np.cumsum([0, *(prod(c.sizes) for c in leaves)])
        z = designs.on_off(self.sampling, n, int(first[-1]), p, seed=self.seed, stream="rise").astype(np.float32)
        shifts = [c.shifts(generator(self.seed, "rise/shift", i, 0), n) for i, c in enumerate(leaves)]
        scores = mean_over_rows(ctx, self._scores(ctx, fill, leaves, z, shifts, first), fill.count)
        mean, slopes = self._linear_part(z, scores)
        residual = scores - mean - (z - p) @ slopes
        parts = _groups(n)
        share = [(part.stop - part.start) / n for part in parts]
        maps, errors = [], []
        for c, x, shift, a, b in zip(leaves, ctx.x, shifts, first, first[1:], strict=False):
            groups = c.mean_by_group(z[:, a:b], shift, residual, parts) / p
            exact = mean[:, None] + (1 - p) * c.mean_map(slopes[a:b])
            shape = ctx.ops.shape(x)
            average = np.average(groups, axis=0, weights=share)
            variance = np.average((groups - average) ** 2, axis=0, weights=share) / max(len(share) - 1, 1)
            maps.append(c.placed(exact + average, shape))
            errors.append(c.placed(np.sqrt(variance) if len(share) > 1 else np.nan * variance, shape))
        like = ctx.ops.asarray
        return Attribution(
            tuple(like(m, like=x) for m, x in zip(maps, ctx.x, strict=True)),
            std_error=tuple(like(e, like=x) for e, x in zip(errors, ctx.x, strict=True)),
        )

    def _scores(
        self,
        ctx: Context,
        fill: replacement.Replacement,
        leaves: Sequence[Cells],
        z: np.ndarray,
        shifts: Sequence[np.ndarray],
        first: np.ndarray,
    ) -> np.ndarray:
        """Scores ``[(masks rows), B]``."""

        def which(points: range) -> np.ndarray:
            return np.arange(points.start, points.stop) // fill.count

        def grids(points: range, samples: slice) -> tuple[np.ndarray, ...]:
            k, cut = which(points), zip(leaves, first, first[1:], strict=False)
            return tuple(z[k, start:stop].reshape(-1, 1, *c.sizes) for c, start, stop in cut)

        def side(axis: int) -> Any:
            def sides(points: range, samples: slice) -> tuple[np.ndarray, ...]:
                k = which(points)
                return tuple(c.side(axis, s[k])[:, None] for c, s in zip(leaves, shifts, strict=True))

            return sides

        rank = {len(c.sizes) for c in leaves}
        channel = {c.channel for c in leaves}
        assert len(rank) == len(channel) == 1, "checked by Cells.over"
        return host_scores_over_variants(
            ctx,
            Dimmed(ctx.ops, channel.pop()),
            samples=(ctx.x, *fill.samples),
            draws=(*fill.rows, grids, *(side(axis) for axis in range(rank.pop()))),
            count=self.n_samples * fill.count,
        )

    def _linear_part(self, z: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean ``[B]`` and slopes ``[cells, B]`` of the scores in the cells; slopes of zero where masks are too few."""
        if not self.control_variate or len(z) < 2 * (z.shape[1] + 1):
            return np.zeros(scores.shape[1]), np.zeros((z.shape[1], scores.shape[1]))
        design = np.concatenate([np.ones((len(z), 1)), z - self.probability], axis=1)
        found = np.linalg.lstsq(design, scores, rcond=None)[0]
        return found[0], found[1:]


def _groups(n: int) -> list[slice]:
    """Masks in a few groups, whose maps tell the standard error; pairs of opposites stay together."""
    pairs = max(n // 2, 1)
    count = min(8, pairs)
    ends = [*(2 * (pairs * i // count) for i in range(count)), n]
    return [slice(a, b) for a, b in pairwise(ends)]
