"""How much the score drops when parts of the input are replaced.

FeatureAblation: f(x) - f(x with feature i at the baseline) (Zeiler and Fergus 2014, arXiv 1311.2901, section 4.2, for
arbitrary groups).
Occlusion: the same for windows that slide over the input, averaged over the windows that cover a position.
FeaturePermutation: E over rows r of f(x) - f(x with feature i of row r) (Fisher, Rudin and Dominici 2019,
arXiv 1801.01489, for one sample's score in the place of a loss).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from whence.core import baselines, replacement
from whence.core.baselines import DataSet
from whence.core.coalitions import Game, device_masks, finite, mean_over_rows
from whence.core.context import Context
from whence.core.engine import host_scores_over_variants
from whence.core.errors import ParameterError
from whence.core.grouping import Grouping
from whence.core.grouping import find as grouping_of
from whence.core.method import Attribution, Method
from whence.core.ops import Ops, Tensor
from whence.core.sampling import generator
from whence.core.validation import integer, positive_int
from whence.core.windows import Windows
from whence.methods.by_feature import Estimate, FeatureMethod, attribution


@dataclass(frozen=True)
class Ablated:
    """The sample with the baseline in the place of one feature."""

    ops: Ops

    def __call__(self, x: Tensor, mask: Tensor, baseline: Tensor, number: Tensor) -> Tensor:
        """``[k, b, ...]`` for feature numbers ``[k]``."""
        return self.ops.where(mask == number, baseline, x)


@dataclass(frozen=True, kw_only=True, repr=False)
class FeatureAblation(FeatureMethod):
    """f(x) - f(x with one feature at the baseline), ``[B, ...]``, in units of score.

    Each feature's value stands at all of its numbers. Source: Zeiler and Fergus 2014, arXiv 1311.2901.
    """

    name: ClassVar[str] = "feature_ablation"

    def estimate(self, game: Game) -> Estimate:
        scores = replaced_one_by_one(game.ctx, game.grouping, game.replacement, game.masks)
        return Estimate((game.full - scores).T)


def replaced_one_by_one(ctx: Context, grouping: Grouping, fill: replacement.Replacement, masks: Any) -> np.ndarray:
    """Scores ``[F, B]`` with each feature replaced, averaged over the rows of a background."""
    scores = host_scores_over_variants(
        ctx,
        Ablated(ctx.ops),
        samples=(ctx.x, masks, *fill.samples),
        draws=(*fill.rows, np.repeat(np.arange(grouping.size), fill.count)),
        count=grouping.size * fill.count,
    )
    return mean_over_rows(ctx, scores, fill.count)


@dataclass(frozen=True)
class Occluded:
    """The sample with the baseline inside a window, the product of its sides."""

    ops: Ops

    def __call__(self, x: Tensor, *values: Tensor) -> Tensor:
        """``[k, b, ...]`` from the baseline and one boolean side per axis of the window."""
        baseline, sides = values[0], values[1:]
        inside = sides[0]
        for side in sides[1:]:
            inside = inside & side
        return self.ops.where(inside, baseline, x)


@dataclass(frozen=True, kw_only=True, repr=False)
class Occlusion(Method):
    """The drop of the score under a sliding window, ``[B, ...]``, averaged over the windows that cover a position.

    ``window``: sides of the window, an int for all spatial axes (all axes where the layout is unknown), or one per
    spatial axis, or one per axis of a sample. ``stride``: alike; 1 if None. Windows start at multiples of the stride
    and the last ones are cut at the border, so that every position is covered. ``baseline``: see
    ``whence.baselines``.

    Source: Zeiler and Fergus 2014, arXiv 1311.2901; windows as in Captum.
    """

    name: ClassVar[str] = "occlusion"
    needs_gradient: ClassVar[bool] = False
    shares_passes: ClassVar[bool] = True
    attributes_whole_numbers: ClassVar[bool] = True

    window: int | tuple[int, ...] = 3
    stride: int | tuple[int, ...] | None = None
    baseline: Any = "zeros"

    def __post_init__(self) -> None:
        for name, sizes in (("window", self.window), ("stride", self.stride)):
            for size in sizes if isinstance(sizes, tuple) else (sizes,):
                if size is not None:
                    positive_int(name, size)

    def compute(self, ctx: Context) -> Attribution:
        fill = replacement.find(ctx, self.baseline)
        windows = [Windows.over(ctx, leaf, self.window, self.stride) for leaf in range(len(ctx.x))]
        first = np.cumsum([0, *(w.count for w in windows)])

        def side(axis: int) -> Any:
            def inside(points: range, samples: slice) -> tuple[np.ndarray, ...]:
                numbers = np.arange(points.start, points.stop) // fill.count
                return tuple(w.side(numbers - start, axis) for w, start in zip(windows, first, strict=False))

            return inside

        sides = tuple(side(axis) for axis in range(max(len(w.axes) for w in windows)))
        scores = host_scores_over_variants(
            ctx,
            Occluded(ctx.ops),
            samples=(ctx.x, *fill.samples),
            draws=(*fill.rows, *sides),
            count=int(first[-1]) * fill.count,
        )
        full = finite(ctx, np.asarray(ctx.ops.to_numpy(ctx.score), np.float64)[None])
        drops = full - mean_over_rows(ctx, scores, fill.count)
        maps = [
            w.averaged(drops[a:b], ctx.ops.shape(x))
            for w, a, b, x in zip(windows, first, first[1:], ctx.x, strict=False)
        ]
        like = [x if ctx.ops.is_floating(x) else ctx.score for x in ctx.x]
        return Attribution(tuple(ctx.ops.asarray(m, like=x) for m, x in zip(maps, like, strict=True)))


@dataclass(frozen=True, kw_only=True, repr=False)
class FeaturePermutation(Method):
    """The mean drop of the score when a feature takes its value from another row, ``[B, ...]``.

    Rows come from the data set ``baseline``, drawn with replacement; without it the batch itself is permuted,
    ``n_samples`` times for each feature, and the result depends on the batch by its nature. ``std_error`` is over
    the draws.

    Source: Fisher, Rudin and Dominici 2019, arXiv 1801.01489; Captum's FeaturePermutation with n_samples=1.
    """

    name: ClassVar[str] = "feature_permutation"
    needs_gradient: ClassVar[bool] = False
    shares_passes: ClassVar[bool] = True
    attributes_whole_numbers: ClassVar[bool] = True

    feature_mask: Any = None
    baseline: Any = None
    n_samples: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        positive_int("n_samples", self.n_samples)
        integer("seed", self.seed)
        if self.baseline is not None and not isinstance(self.baseline, DataSet):
            raise ParameterError(
                "baseline of feature_permutation",
                received=repr(self.baseline),
                valid="None for the batch itself, or whence.baselines.DataSet(rows)",
            )

    def compute(self, ctx: Context) -> Attribution:
        grouping, n = grouping_of(ctx, self.feature_mask), self.n_samples
        scores = host_scores_over_variants(
            ctx,
            Ablated(ctx.ops),
            samples=(ctx.x, device_masks(ctx, grouping)),
            draws=(self._rows(ctx), np.repeat(np.arange(grouping.size), n)),
            count=grouping.size * n,
        )
        full = np.asarray(ctx.ops.to_numpy(ctx.score), np.float64)
        drops = full - finite(ctx, scores).reshape(grouping.size, n, ctx.batch)
        error = drops.std(axis=1, ddof=1) / n**0.5 if n > 1 else np.full(drops[:, 0].shape, np.nan)
        return attribution(ctx, grouping, [(np.arange(ctx.batch), Estimate(drops.mean(axis=1).T, error.T))])

    def _rows(self, ctx: Context) -> Any:
        """Other rows for each point, ``[k, b, ...]`` of every tensor."""
        if self.baseline is not None:
            data = replace(self.baseline, seed=self.seed)
            return lambda points, samples: baselines.draws_at_place(ctx, data, points, samples)
        if ctx.batch < 2:
            raise ParameterError(
                "a permutation of the batch",
                received="one sample",
                valid="several, or rows to draw from: baseline=whence.baselines.DataSet(rows)",
            )
        batch = [ctx.ops.to_numpy(x) for x in ctx.x]

        def permuted(points: range, samples: slice) -> tuple[np.ndarray, ...]:
            order = np.stack([self._order(point, ctx.batch) for point in points])[:, samples]
            return tuple(x[order] for x in batch)

        return permuted

    def _order(self, point: int, batch: int) -> np.ndarray:
        """A permutation that moves something."""
        rng = generator(self.seed, "feature_permutation", 0, point)
        order = rng.permutation(batch)
        while (order == np.arange(batch)).all():
            order = rng.permutation(batch)
        return order
