"""The game that coalition methods play: v(S), the score with the features of S present and the others replaced.

With a background data set of M rows, v(S) is the mean score over the rows (Lundberg and Lee 2017, arXiv 1705.07874,
section 4: features independent, absent ones drawn from the data).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from einops import rearrange

from whence.core import replacement
from whence.core.engine import host_scores_over_variants
from whence.core.errors import NonFiniteError
from whence.core.grouping import Grouping
from whence.core.ops import Ops, Tensor

if TYPE_CHECKING:
    from whence.core.context import Context

MOST_SCORES = 2**22
"""Scores held at once while a background is averaged over."""


@dataclass(frozen=True)
class Composed:
    """The sample where its feature is present, the baseline elsewhere; masks are composed on the device.

    ``mask [1, b, ...]`` are feature numbers that broadcast to ``x``; ``keep [k, b or 1, F + 1]`` says which of them are
    present.
    """

    ops: Ops
    shared: bool
    """Whether all samples have the same mask: a lookup along one axis is faster than one per sample."""

    def __call__(self, x: Tensor, mask: Tensor, baseline: Tensor, keep: Tensor) -> Tensor:
        """``[k, b, ...]``, or ``[k, 1, ...]`` where all is the same for all samples."""
        ops, sizes = self.ops, self.ops.shape(mask)[2:]
        keep = rearrange(keep, "k b f ... -> k b (f ...)")
        numbers = rearrange(mask, "one b ... -> one b (...)")
        present = ops.take(keep, numbers[0, 0], axis=2) if self.shared else ops.take_along_axis(keep, numbers, axis=2)
        return ops.where(shaped(present, sizes), x, baseline)


def shaped(flat: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """``[k, b, n]`` as ``[k, b, *sizes]``."""
    if len(sizes) == 1:
        return flat
    names = [f"a{i}" for i in range(len(sizes))]
    return rearrange(flat, f"k b ({' '.join(names)}) -> k b {' '.join(names)}", **dict(zip(names, sizes, strict=True)))


class Game:
    """v(S) for every sample of a context whose samples have equally many features."""

    def __init__(self, ctx: Context, grouping: Grouping, baseline: Any) -> None:
        self.ctx, self.grouping = ctx, grouping
        self.replacement = replacement.find(ctx, baseline, grouping)
        self.masks = device_masks(ctx, grouping)

    @property
    def size(self) -> int:
        """The number of features, F."""
        return self.grouping.size

    @property
    def batch(self) -> int:
        """The number of samples, B."""
        return self.ctx.batch

    @cached_property
    def full(self) -> np.ndarray:
        """v of all features ``[B]``: the score at the input."""
        scores = np.asarray(self.ctx.ops.to_numpy(self.ctx.score), np.float64)
        return np.asarray(finite(self.ctx, scores[None])[0])

    def values(self, coalitions: np.ndarray) -> np.ndarray:
        """v(S) ``[K, B]`` in float64 of coalitions ``[K, F]``, the same for all samples, or ``[K, B, F]``."""
        with_all = self.ctx.unscored and self.replacement.count == 1  # the score itself comes with the first ones
        if with_all:
            coalitions = np.concatenate([np.ones((1, *coalitions.shape[1:]), bool), coalitions])
        step = max(1, MOST_SCORES // (self.replacement.count * self.batch))
        parts = [self._scores(coalitions[i : i + step]) for i in range(0, len(coalitions), step)]
        v = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if not with_all:
            return v
        score = self.ctx.ops.asarray(v[0], like=self.ctx.inputs[0], dtype=self.ctx.work.score_dtype)
        self.ctx.settle(score, self.ctx.given_target)
        return v[1:]

    def _scores(self, coalitions: np.ndarray) -> np.ndarray:
        """v of so many coalitions that their scores can be held at once, ``[K, B]``."""
        ctx, fill = self.ctx, self.replacement
        table = np.ones((*coalitions.shape[:-1], self.size + 1), bool)
        table[..., :-1] = coalitions
        table = table if table.ndim == 3 else table[:, None]

        def keep(points: range, samples: slice) -> np.ndarray:
            each = slice(points.start, points.stop)
            rows = table[each if fill.count == 1 else np.arange(points.start, points.stop) // fill.count]
            return rows if rows.shape[1] == 1 else rows[:, samples]

        scores = host_scores_over_variants(
            ctx,
            Composed(ctx.ops, self.grouping.shared),
            samples=(ctx.x, self.masks, *fill.samples),
            draws=(*fill.rows, keep),
            count=len(coalitions) * fill.count,
        )
        return mean_over_rows(ctx, scores, fill.count)


def device_masks(ctx: Context, grouping: Grouping) -> tuple[Tensor, ...]:
    """Feature numbers of each tensor on the device, ``[B, ...]``, or ``[1, ...]`` where all samples are cut alike."""
    each = zip(grouping.masks, ctx.x, strict=True)
    return tuple(ctx.ops.asarray(np.ascontiguousarray(mask), like=x) for mask, x in each)


def mean_over_rows(ctx: Context, scores: np.ndarray, rows: int) -> np.ndarray:
    """Scores ``[(K rows), B]`` averaged over the rows of a background, ``[K, B]``."""
    return finite(ctx, scores if rows == 1 else scores.reshape(-1, rows, scores.shape[1]).mean(axis=1))


def finite(ctx: Context, values: np.ndarray) -> np.ndarray:
    """The values ``[K, B]``; raises NonFiniteError that names the samples with NaN or infinity."""
    fine = np.isfinite(values)
    if not fine.all():
        bad = np.flatnonzero(~fine.all(axis=0))
        shown = ", ".join(str(ctx.positions[b]) for b in bad[:8]) + (", ..." if len(bad) > 8 else "")
        raise NonFiniteError(
            "the model's score of a perturbed input",
            received=f"NaN or infinity in sample{'s' if len(bad) > 1 else ''} {shown}",
            valid="finite numbers",
        )
    return values
