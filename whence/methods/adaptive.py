"""The midpoint rule refined where the gradient changes, until the attributions' estimated error is small enough.

Each sample starts with equal cells of [0, 1], one gradient g at each middle; a cell whose error is estimated large is
split in three, where the old gradient stays, as the middle third's, and two are new. The estimate:

- a change J = |g' - g| between neighbouring middles is taken for a jump at a random place between them. It makes a
  mean square error of J^2 h^3 / 12 (h + h') in the cell of width h, and likewise in the other; an eighth is used
  instead of a twelfth, to be on the safe side. Errors of jumps are independent and added in quadrature.
- where the slopes to both sides agree, the gradient is smooth and the error far smaller: it is scaled by how much they
  differ. Errors of smooth cells have one sign and are added as they are, a sixth of what jumps would make.

Two gradients near the ends, of no weight, see jumps in the outer halves of the first and the last cell. Completeness
is no criterion: errors of opposite sign cancel in it. The gradients of the samples in work are kept on the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from whence.core.context import Context, Leaves
from whence.core.engine import grad_over_points, straight_line

FIRST_CELLS = 12
PROBES = (1e-3, 1 - 1e-3)
JUMP_SHARE = 1 / 8
SMOOTH_SHARE = 1 / 6


@dataclass
class _Path:
    """One sample's nodes in order, of width zero at the ends; ``gradient[n, F]`` flat over all attributed tensors.

    ``length[F]`` is x - x', so that errors are those of attributions.
    """

    length: np.ndarray
    middle: np.ndarray
    width: np.ndarray
    gradient: np.ndarray
    error: float = np.inf
    norm: float = 0.0

    @property
    def n_steps(self) -> int:
        """Gradients spent."""
        return len(self.middle)

    @property
    def mean(self) -> np.ndarray:
        """The integral of the gradient over the path, ``[F]``."""
        return np.asarray(self.width @ self.gradient)

    def to_split(self, tol: float, max_steps: int) -> np.ndarray:
        """Positions of the cells to split next: none when done, else about as many as it takes, a quarter at most."""
        cells = self._estimate()
        excess = self.error**2 - (tol * self.norm) ** 2
        room = (max_steps - self.n_steps) // 2
        if not excess > 0 or room < 1:  # NaN is reported once it is packed
            return np.empty(0, int)
        ranked = np.argsort(-cells, kind="stable")
        needed = int(np.searchsorted(np.cumsum(cells[ranked] ** 2), excess)) + 1
        return ranked[: min(needed, max(self.n_steps // 4, 1), room)]

    def _estimate(self) -> np.ndarray:
        """Set ``error`` and ``norm``; gives the estimated error of each cell."""
        h, between = self.width, np.diff(self.middle)
        slope = np.diff(self.gradient, axis=0) * self.length / between[:, None]
        steep = np.einsum("nf,nf->n", slope, slope)
        bend = np.diff(slope, axis=0)
        around = steep[1:] + steep[:-1]
        rough = np.einsum("nf,nf->n", bend, bend) / np.where(around > 0, around, 1)
        jump = JUMP_SHARE * steep * between**2 / (h[1:] + h[:-1])
        cells = np.zeros(self.n_steps)
        cells[1:-1] = np.sqrt((jump[:-1] + jump[1:]) * h[1:-1] ** 3 * rough)
        smooth = np.clip(1 - 4 * rough, 0, 1)
        self.norm = float(np.linalg.norm(self.mean * self.length))
        self.error = float(np.linalg.norm(cells) + SMOOTH_SHARE * cells[1:-1] @ smooth)
        return cells

    def split(self, where: np.ndarray, new: np.ndarray) -> None:
        """Split the cells at these positions, ``new[2 len(where), F]`` being the gradients of their outer thirds."""
        self.width[where] /= 3
        offsets = self.width[where][:, None] * [-1, 1]
        middle = np.concatenate([self.middle, (self.middle[where][:, None] + offsets).ravel()])
        order = np.argsort(middle, kind="stable")
        self.middle = middle[order]
        self.width = np.concatenate([self.width, np.repeat(self.width[where], 2)])[order]
        self.gradient = np.concatenate([self.gradient, new])[order]


def integrate_adaptively(
    ctx: Context, x: Leaves, baseline: Leaves, tol: float, max_steps: int
) -> tuple[Leaves, dict[str, Any]]:
    """Mean gradient ``[B, ...]`` along each sample's path, with the steps spent and the error estimated per sample."""
    first = (np.arange(FIRST_CELLS) + 0.5) / FIRST_CELLS
    nodes = np.array([PROBES[0], *first, PROBES[1]])
    widths = np.array([0, *[1 / FIRST_CELLS] * FIRST_CELLS, 0])
    start = _gradients(ctx, baseline, np.repeat(np.arange(ctx.batch), len(nodes)), np.tile(nodes, ctx.batch))
    lengths = _flat(ctx, tuple(a - b for a, b in zip(x, baseline, strict=True)))
    paths = [
        _Path(lengths[i], nodes.copy(), widths.copy(), start[i * len(nodes) : (i + 1) * len(nodes)])
        for i in range(ctx.batch)
    ]
    while work := [(i, p, where) for i, p in enumerate(paths) if len(where := p.to_split(tol, max_steps))]:
        samples = np.repeat([i for i, _, where in work for _ in where], 2)
        alphas = [p.middle[w] + side * p.width[w] / 3 for _, p, where in work for w in where for side in (-1, 1)]
        new = _gradients(ctx, baseline, samples, np.array(alphas))
        for _, path, where in work:
            path.split(where, new[: 2 * len(where)])
            new = new[2 * len(where) :]
    relative = [path.error / path.norm if path.norm else 0.0 for path in paths]
    return _leaves(ctx, np.stack([path.mean for path in paths])), {
        "n_steps": [path.n_steps for path in paths],
        "estimated_error": relative,
        "tol": tol,
        "converged": [error <= tol for error in relative],
    }


def _gradients(ctx: Context, baseline: Leaves, samples: Sequence[int] | np.ndarray, alphas: np.ndarray) -> np.ndarray:
    """One host gradient ``[F]`` per (sample, alpha): all samples share one queue, cut into chunks of one shape."""
    ops, rows, found = ctx.ops, ctx.rows(gradient=True), []
    for begin in range(0, len(alphas), rows):
        part, at = np.asarray(samples[begin : begin + rows]), alphas[begin : begin + rows]
        missing = rows - len(part) if ops.static_shapes else 0
        served, at = np.pad(part, (0, missing), mode="edge"), np.pad(at, (0, missing), mode="edge")
        queue, where = ctx.taken(served.tolist()), ops.asarray(served, like=ctx.inputs[0])
        starts = tuple(ops.take(b, where) for b in baseline)
        gradients = grad_over_points(
            queue, straight_line, samples=(queue.x, starts), draws=(_fixed(at),), count=1, weights=np.ones(1)
        )
        found.append(_flat(ctx, gradients.total)[: len(part)])
    return np.concatenate(found)


def _fixed(alphas: np.ndarray) -> Any:
    return lambda points, served: alphas[None, served]


def _flat(ctx: Context, leaves: Leaves) -> np.ndarray:
    """Attributed tensors ``[n, ...]`` as host vectors ``[n, F]``."""
    host = [ctx.ops.to_numpy(leaf) for leaf in leaves]
    return np.concatenate([h.reshape(len(h), -1) for h in host], axis=1)


def _leaves(ctx: Context, flat: np.ndarray) -> Leaves:
    """Host vectors ``[B, F]`` as tensors like those attributed."""
    shapes = [ctx.ops.shape(leaf) for leaf in ctx.x]
    ends = np.cumsum([prod(shape[1:]) for shape in shapes])
    parts = np.split(flat, ends[:-1], axis=1)
    return tuple(ctx.like(part.reshape(shape), i) for i, (part, shape) in enumerate(zip(parts, shapes, strict=True)))
