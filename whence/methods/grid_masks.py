"""Masks of a grid of cells at their nearest positions, from 0 (the baseline) to 1 (the input), made on the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from whence.core.coalitions import device_masks, shaped
from whence.core.context import Context
from whence.core.engine import host_scores_over_variants
from whence.core.errors import ParameterError
from whence.core.features import Features, Part
from whence.core.grouping import Grouping, find
from whence.core.layout import Layout
from whence.core.ops import Ops, Tensor
from whence.core.replacement import Replacement


@dataclass(frozen=True)
class CellGrid(Features):
    """A grid of ``sizes`` cells over the spatial axes, or over all axes where the layout is unknown."""

    sizes: int | tuple[int, ...]

    reads_values = False

    def part(self, values: np.ndarray, layout: Layout, what: str) -> Part:
        axes = layout.spatial or tuple(range(1, values.ndim))
        sizes = self.sizes if isinstance(self.sizes, tuple) else (self.sizes,) * len(axes)
        if len(sizes) != len(axes):
            raise ParameterError(
                f"a grid over {what} of shape {values.shape}",
                received=repr(self.sizes),
                valid=f"an int, or {len(axes)} of them",
            )
        mask = np.zeros([1] * values.ndim, np.int64)
        for axis, size in zip(axes, sizes, strict=True):
            length = values.shape[axis]
            cell = np.arange(length) * min(size, length) // length
            mask = mask * min(size, length) + cell.reshape([-1 if i == axis else 1 for i in range(values.ndim)])
        return Part(mask)


@dataclass(frozen=True)
class Dimmed:
    """x z + x' (1 - z) with z looked up from the cells' values."""

    ops: Ops

    def __call__(self, x: Tensor, mask: Tensor, baseline: Tensor, cells: Tensor) -> Tensor:
        """``[k, b, ...]`` for cell values ``[k, 1, cells]``."""
        from einops import rearrange

        cells = rearrange(cells, "k b f ... -> k b (f ...)")
        numbers = rearrange(mask, "one b ... -> one b (...)")[0, 0]
        z = shaped(self.ops.take(cells, numbers, axis=2), self.ops.shape(mask)[2:])
        return baseline + z * (x - baseline)


@dataclass(frozen=True)
class GridMasks:
    """The cells of every attributed tensor."""

    grouping: Grouping

    @classmethod
    def over(cls, ctx: Context, grid: int | tuple[int, ...]) -> Self:
        """The cells of a context's tensors."""
        return cls(find(ctx, CellGrid(grid)))

    @property
    def cells(self) -> int:
        """How many cells all tensors have."""
        return self.grouping.size

    @property
    def names(self) -> tuple[str, ...]:
        """What the cells are called."""
        return self.grouping.names(0)

    def numbers(self, ctx: Context) -> tuple[np.ndarray, ...]:
        """The cell of every position."""
        return self.grouping.masks

    def scores(
        self, ctx: Context, fill: Replacement, design: Callable[[np.ndarray], np.ndarray], count: int
    ) -> np.ndarray:
        """Scores ``[(count rows), B]`` of the masks that ``design(numbers)[k, cells]`` gives."""

        def cells(points: range, samples: slice) -> np.ndarray:
            return design(np.arange(points.start, points.stop) // fill.count)[:, None]

        return host_scores_over_variants(
            ctx,
            Dimmed(ctx.ops),
            samples=(ctx.x, device_masks(ctx, self.grouping), *fill.samples),
            draws=(*fill.rows, cells),
            count=count * fill.count,
        )

    def spread(self, ctx: Context, values: np.ndarray) -> tuple[Any, ...]:
        """Values per cell ``[B, cells]`` as tensors like the attributed ones."""
        found = self.grouping.spread(values, [ctx.ops.shape(x) for x in ctx.x])
        return tuple(ctx.ops.asarray(np.ascontiguousarray(v), like=x) for v, x in zip(found, ctx.x, strict=True))


def sobol_sequence(n: int, columns: int, seed: int) -> np.ndarray:
    """``[n, columns]`` of a scrambled Sobol sequence (Owen 1998), in [0, 1)."""
    import warnings
    from inspect import signature

    from scipy.stats import qmc

    with warnings.catch_warnings():  # n that are no powers of two are less balanced, and no mistake
        warnings.simplefilter("ignore", UserWarning)
        rng = np.random.Generator(np.random.Philox(seed % 2**64))
        name = "rng" if "rng" in signature(qmc.Sobol).parameters else "seed"  # before SciPy 1.15
        sampler = qmc.Sobol(columns, scramble=True, **{name: rng})
        return np.asarray(sampler.random(n))
