"""Windows that slide over a tensor: where they stand, and the mean of what they found at each position."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Self

import numpy as np

from whence.core.errors import ParameterError, ShapeError

if TYPE_CHECKING:
    from whence.core.context import Context

Sizes = int | tuple[int, ...]


@dataclass(frozen=True)
class Windows:
    """Windows over the axes ``axes`` of ``[B, ...]``: sizes, strides and lengths per axis."""

    rank: int
    axes: tuple[int, ...]
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    lengths: tuple[int, ...]

    @classmethod
    def over(cls, ctx: Context, leaf: int, window: Sizes, stride: Sizes | None) -> Self:
        """The windows of one attributed tensor."""
        shape, spatial = ctx.ops.shape(ctx.x[leaf]), ctx.layout(leaf).spatial
        everywhere = tuple(range(1, len(shape)))
        axes = (spatial or everywhere) if not isinstance(window, tuple) or len(window) == len(spatial) else everywhere
        sizes = _per_axis("window", window, axes, shape)
        strides = _per_axis("stride", 1 if stride is None else stride, axes, shape)
        lengths = tuple(shape[axis] for axis in axes)
        if any(size > length for size, length in zip(sizes, lengths, strict=True)):
            raise ShapeError(
                f"a window of {sizes}", received=f"axes of length {lengths}", valid="sides no longer than the input's"
            )
        if any(stride > size for size, stride in zip(sizes, strides, strict=True)):
            raise ParameterError(
                f"strides of {strides}",
                received=f"a window of {sizes}",
                valid="strides no longer than the window's sides, so that every position is covered",
            )
        return cls(len(shape), axes, sizes, strides, lengths)

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """Windows along each axis: the last one reaches the border."""
        each = zip(self.lengths, self.sizes, self.strides, strict=True)
        return tuple(-(-(length - size) // stride) + 1 for length, size, stride in each)

    @property
    def count(self) -> int:
        """All windows."""
        return prod(self.steps)

    def _cover(self, axis: int) -> np.ndarray:
        """``[steps, length]``: which positions each window covers along one axis."""
        starts = np.arange(self.steps[axis])[:, None] * self.strides[axis]
        positions = np.arange(self.lengths[axis])
        return (positions >= starts) & (positions < starts + self.sizes[axis])

    def side(self, numbers: np.ndarray, axis: int) -> np.ndarray:
        """Whether positions along an axis are inside windows ``numbers[k]``, laid out like ``[k, 1, ...]``.

        Nothing is inside a window whose number is another tensor's; tensors with fewer axes are inside on the rest.
        """
        own = (numbers >= 0) & (numbers < self.count)
        if axis >= len(self.axes):
            inside = own[:, None]
            shape = [1] * (self.rank - 1)
        else:
            step = np.unravel_index(np.where(own, numbers, 0), self.steps)[axis]
            inside = self._cover(axis)[step] & own[:, None]
            shape = [self.lengths[axis] if a == self.axes[axis] else 1 for a in range(1, self.rank)]
        return inside.reshape(len(numbers), 1, *shape)

    def averaged(self, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """The mean over the windows that cover a position, ``[B, ...]``, of values per window ``[count, B]``."""
        total = np.moveaxis(values, 0, -1).reshape(-1, *self.steps)
        for axis in range(len(self.axes)):
            cover = self._cover(axis)
            total = np.tensordot(total, cover / cover.sum(axis=0), axes=(1, 0))
        placed = [self.lengths[self.axes.index(a)] if a in self.axes else 1 for a in range(1, self.rank)]
        return np.ascontiguousarray(np.broadcast_to(total.reshape(-1, *placed), shape))


def _per_axis(name: str, given: Sizes, axes: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    sizes = given if isinstance(given, tuple) else (given,) * len(axes)
    if len(sizes) != len(axes):
        raise ParameterError(
            f"{name} over inputs of shape {shape}", received=repr(given), valid=f"an int, or {len(axes)} of them"
        )
    return sizes
