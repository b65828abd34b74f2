"""Masks made of a few cells: upsampled bilinearly and shifted, described by one small matrix per axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from whence.core.context import Context
from whence.core.errors import ParameterError, ShapeError
from whence.core.interpolation import resize_matrix


@dataclass(frozen=True)
class Cells:
    """A grid of ``sizes`` cells over the axes of ``lengths`` positions of one tensor.

    ``channel``: the axis of channels, which share a mask; None where the grid lies over all axes of a sample.
    """

    sizes: tuple[int, ...]
    lengths: tuple[int, ...]
    channel: int | None

    @classmethod
    def over(cls, ctx: Context, leaf: int, grid: int | tuple[int, ...]) -> Self:
        """The cells of one attributed tensor; several tensors must have equally many axes of one kind."""
        shape, layout = ctx.ops.shape(ctx.x[leaf]), ctx.layout(leaf)
        axes = layout.spatial or tuple(range(1, len(shape)))
        sizes = grid if isinstance(grid, tuple) else (grid,) * len(axes)
        if len(sizes) != len(axes) or not axes:
            raise ParameterError(
                f"a grid over inputs of shape {shape}", received=repr(grid), valid=f"an int, or {len(axes)} of them"
            )
        if len({(len(ctx.ops.shape(x)), ctx.layout(i)) for i, x in enumerate(ctx.x)}) > 1:
            raise ShapeError(
                "masks over several inputs",
                received="inputs of different kinds",
                valid="inputs with equally many axes, or fewer floating-point inputs",
            )
        lengths = tuple(shape[axis] for axis in axes)
        return cls(tuple(map(min, sizes, lengths)), lengths, layout.channel if layout.spatial else None)

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """Positions per cell along each axis; a mask is shifted by fewer."""
        return tuple(-(-length // size) for length, size in zip(self.lengths, self.sizes, strict=True))

    @cached_property
    def tables(self) -> tuple[np.ndarray, ...]:
        """For each axis, weights ``[steps, length, size]`` of the cells at each position under each shift."""
        found = []
        for length, size, step in zip(self.lengths, self.sizes, self.steps, strict=True):
            up = resize_matrix(size, (size + 1) * step, "bilinear") if step > 1 else np.eye(size)
            found.append(np.stack([up[shift : shift + length] for shift in range(step)]).astype(np.float32))
        return tuple(found)

    def shifts(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """A shift for each of n masks along each axis, ``[n, axes]``."""
        return np.stack([rng.integers(0, step, n) for step in self.steps], axis=1)

    def side(self, axis: int, shifts: np.ndarray) -> np.ndarray:
        """``[k, length, size]`` weights along one axis for masks with these shifts ``[k, axes]``."""
        return np.asarray(self.tables[axis][shifts[:, axis]])

    def mean_map(self, values: np.ndarray) -> np.ndarray:
        """Values per cell ``[cells, B]`` at every position, averaged over shifts: ``[B, positions]``."""
        found = values.T.reshape(-1, *self.sizes)
        for table in self.tables:
            found = np.tensordot(found, table.mean(axis=0), axes=(1, 1))
        return found.reshape(len(found), -1)

    def mean_by_group(
        self, z: np.ndarray, shifts: np.ndarray, weights: np.ndarray, groups: Sequence[slice]
    ) -> np.ndarray:
        """Per group of masks the mean of weight times mask, ``[groups, B, positions]``; ``weights[n, B]``.

        Masks of one shift along the first axis are added up before that axis is upsampled.
        """
        by_group = np.zeros((len(z), len(groups), weights.shape[1]), np.float64)
        for g, rows in enumerate(groups):
            by_group[rows, g] = weights[rows] / (rows.stop - rows.start)
        total: np.ndarray | float = 0.0
        for shift in range(self.steps[0]):
            k = np.flatnonzero(shifts[:, 0] == shift)
            part = z[k].reshape(-1, *self.sizes)
            for axis in range(1, len(self.sizes)):  # each takes the second grid axis and puts the position last
                part, up = np.moveaxis(part, 2, -1), self.side(axis, shifts[k]).swapaxes(1, 2)
                part = part @ up[:, *[None] * (part.ndim - 3)]
            summed = np.tensordot(by_group[k], part, axes=(0, 0))
            total = total + np.einsum("nbg...,pg->nbp...", summed, self.tables[0][shift])
        return np.asarray(total).reshape(len(groups), weights.shape[1], -1)

    def placed(self, maps: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Maps ``[B, positions]`` in the shape of the input, the same for all channels."""
        found = maps.reshape(-1, *self.lengths)
        found = found if self.channel is None else np.expand_dims(found, self.channel)
        return np.ascontiguousarray(np.broadcast_to(found, shape))
