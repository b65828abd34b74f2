"""The midpoint rule refined where the gradient changes, until the attributions' estimated error is small enough.

Each sample starts with four cells of [0, 1], one gradient at each middle. The cells of the largest estimated error
are split in three: the old gradient g stays, as the middle third's, and two, g1 and g3, are new. On a gradient that is
constant but for jumps anywhere in a cell of width h, the mean square error of the midpoint rule is a twelfth of the
mean square change h |g1 - g| to the next cell; an eighth is used, to be on the safe side. What a split changes in the
sum, h |(g1 - g) + (g3 - g)|, is that of independent jumps on the average, but far less on a smooth gradient, where the
two cancel: errors are scaled by the ratio. Those of cells are taken for independent and added in quadrature.
Completeness is no criterion: errors of opposite sign cancel in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf, sqrt
from typing import Any

import numpy as np

from whence.core.context import Context, Leaves
from whence.core.engine import grad_over_points, straight_line
from whence.core.ops import Ops, Tensor

FIRST_CELLS = 4
SHARE = sqrt(1 / 8)
"""Estimated error of a cell over the change to its neighbour."""


@dataclass
class _Cell:
    middle: float
    width: float
    gradient: Leaves
    error: float = inf

    def split(self, g1: Leaves, g3: Leaves, left: float, right: float, both: float) -> tuple[_Cell, _Cell]:
        """Become the middle third; gives the outer ones. ``left``, ``right`` and ``both`` are norms of changes."""
        self.width /= 3
        jumps = sqrt(left**2 + right**2)
        scale = SHARE * self.width * (both / jumps if jumps else 0.0)
        self.error = scale * jumps / sqrt(2)
        return (
            _Cell(self.middle - self.width, self.width, g1, scale * left),
            _Cell(self.middle + self.width, self.width, g3, scale * right),
        )


@dataclass
class _Path:
    """The cells of one sample's path; ``total`` is the current sum of width times gradient, per attributed tensor."""

    sample: int
    cells: list[_Cell] = field(default_factory=list)
    total: Leaves = ()
    norm: float = 0.0

    @property
    def error(self) -> float:
        """Estimated norm of the error of the attributions."""
        return sqrt(sum(cell.error**2 for cell in self.cells))

    def worst(self, tol: float, room: int) -> list[_Cell]:
        """The cells to split next: none when done, else about as many as it takes, at most a quarter at once."""
        excess = self.error**2 - (tol * self.norm) ** 2
        if not excess > 0 or room < 2:  # NaN stops too
            return []
        ranked = sorted(self.cells, key=lambda cell: -cell.error)
        # split in three, a cell keeps between a third and a 27th of its squared error
        gained = np.cumsum([cell.error**2 * 2 / 3 for cell in ranked])
        needed = int(np.searchsorted(gained, excess)) + 1 if excess < inf else sum(c.error == inf for c in ranked)
        most = needed if excess == inf else max(len(ranked) // 4, 1)
        return ranked[: min(needed, most, room // 2)]


def integrate_adaptively(
    ctx: Context, x: Leaves, baseline: Leaves, tol: float, max_steps: int
) -> tuple[Leaves, dict[str, Any]]:
    """Mean gradient ``[B, ...]`` along each sample's path, with the steps spent and the error estimated per sample."""
    ops, length = ctx.ops, tuple(a - b for a, b in zip(x, baseline, strict=True))
    middles = (np.arange(FIRST_CELLS) + 0.5) / FIRST_CELLS
    first = _gradients(ctx, baseline, [i for i in range(ctx.batch) for _ in middles], np.tile(middles, ctx.batch))
    paths = []
    for i in range(ctx.batch):
        cells = [_Cell(m, 1 / FIRST_CELLS, first[i * FIRST_CELLS + j]) for j, m in enumerate(middles)]
        paths.append(_Path(i, cells, _add([_scaled(c.gradient, c.width) for c in cells])))
    while splits := [(path, cell) for path in paths for cell in path.worst(tol, max_steps - len(path.cells))]:
        samples = [path.sample for path, _ in splits for _ in (-1, 1)]
        alphas = np.array([cell.middle + side * cell.width / 3 for _, cell in splits for side in (-1, 1)])
        new = _gradients(ctx, baseline, samples, alphas)
        steps = [_difference(g, splits[i // 2][1].gradient) for i, g in enumerate(new)]
        both = [_add([left, right]) for left, right in zip(steps[::2], steps[1::2], strict=True)]
        changes = _norms(ops, samples + samples[::2], steps + both, length)
        for i, (path, cell) in enumerate(splits):
            path.total = _add([path.total, _scaled(both[i], cell.width / 3)])
            path.cells += cell.split(new[2 * i], new[2 * i + 1], *changes[[2 * i, 2 * i + 1, len(steps) + i]])
        norms = _norms(ops, [path.sample for path in paths], [path.total for path in paths], length)
        for path, norm in zip(paths, norms, strict=True):
            path.norm = float(norm)
    mean = tuple(ops.stack([path.total[leaf] for path in paths]) for leaf in range(len(x)))
    relative = [path.error / path.norm if path.norm else 0.0 for path in paths]
    return mean, {
        "n_steps": [len(path.cells) for path in paths],
        "estimated_error": relative,
        "tol": tol,
        "converged": [error <= tol for error in relative],
    }


def _gradients(ctx: Context, baseline: Leaves, samples: Sequence[int], alphas: np.ndarray) -> list[Leaves]:
    """One gradient per (sample, alpha): all samples share one queue, cut into full chunks."""
    rows = ctx.rows(gradient=True)
    missing = -len(samples) % min(rows, 8) if ctx.ops.static_shapes else 0
    padded, alphas = [*samples, *[samples[-1]] * missing], np.pad(alphas, (0, missing), mode="edge")
    queue = ctx.taken(padded)
    where = ctx.ops.asarray(np.asarray(padded, np.int64), like=ctx.inputs[0])
    starts = tuple(ctx.ops.take(b, where) for b in baseline)
    found = grad_over_points(queue, straight_line, samples=(queue.x, starts), count=1,
                             draws=(lambda points, served: alphas[None, served],)).total  # fmt: skip
    return [tuple(leaf[i] for leaf in found) for i in range(len(samples))]


def _norms(ops: Ops, samples: Sequence[int], vectors: Sequence[Leaves], length: Leaves) -> np.ndarray:
    """Host norms of each vector times its sample's x - x'."""
    squares: Any = 0.0
    where = np.array(samples, np.int64)
    for leaf, span in enumerate(length):
        values = ops.stack([vector[leaf] for vector in vectors]) * ops.take(span, ops.asarray(where, like=span))
        axes = tuple(range(1, len(ops.shape(values))))
        squares = squares + ops.to_numpy(ops.sum(values * values, axis=axes) if axes else values * values)
    return np.sqrt(np.asarray(squares, np.float64))


def _scaled(vector: Leaves, factor: float) -> Leaves:
    return tuple(leaf * factor for leaf in vector)


def _difference(a: Leaves, b: Leaves) -> Leaves:
    return tuple(p - q for p, q in zip(a, b, strict=True))


def _add(vectors: Sequence[Leaves]) -> Leaves:
    total: tuple[Tensor, ...] = vectors[0]
    for vector in vectors[1:]:
        total = tuple(a + b for a, b in zip(total, vector, strict=True))
    return total
