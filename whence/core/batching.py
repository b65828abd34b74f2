"""How work is cut into chunks of model rows: tiles of samples by points, every tile of one shape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

GRADIENT_ROWS = 16
MOST_ROWS = {True: 1024, False: 4096}
"""With and without a gradient."""
ACTIVATIONS_PER_INPUT = 64
"""Assumed bytes of kept activations per byte of input row, for the memory budget."""


@dataclass(frozen=True)
class Tile:
    """Samples ``first .. first + samples`` at points ``start .. start + points``; the rest of the shape is padding."""

    first: int
    samples: int
    start: int
    points: int
    shape: tuple[int, int]
    """(points, samples) that the model is run on, padding included."""


def choose_rows(
    row_bytes: int, free_bytes: int | None, *, gradient: bool, chunk_bytes: int = 4 * 2**20, forward_rows: int = 32
) -> int:
    """Model rows in one call where the user names none: about ``chunk_bytes``, within a quarter of the memory."""
    least = GRADIENT_ROWS if gradient else forward_rows
    rows = min(max(chunk_bytes // max(row_bytes, 1), least), MOST_ROWS[gradient])
    if free_bytes is not None:
        rows = min(rows, free_bytes // 4 // (max(row_bytes, 1) * ACTIVATIONS_PER_INPUT))
    return max(int(rows), 1)


@lru_cache(maxsize=64)
def tile_points(count: int, samples: int, rows: int, *, stretch: bool) -> int:
    """Points of each tile: as many as fit in ``rows``, or a quarter more, such that the last tile wastes least."""
    fit = max(rows // samples, 1)
    most = min(count, fit * 5 // 4 if stretch else fit)
    candidates = range(max(1, ceil(0.6 * fit)), max(most, 1) + 1) or range(fit, fit + 1)
    return min((min(c, count) for c in candidates), key=lambda c: (ceil(count / c) * c, -c))


def tiles(batch: int, count: int, rows: int, *, stretch: bool, pad: bool, first: int = 0) -> Iterator[Tile]:
    """Tiles that cover samples ``first .. batch`` at ``count`` points, samples outermost.

    With ``stretch``, a tile may exceed ``rows`` by a quarter; with ``pad``, all have the shape of the first. Samples
    are shared out evenly, since a small last tile costs more per row.
    """
    most = rows * 5 // 4 if stretch else rows
    block = ceil(batch / ceil(batch / most))
    points = tile_points(count, block, rows, stretch=stretch)
    for begin in range(first, batch, block):
        for start in range(0, count, points):
            served, at = min(block, batch - begin), min(points, count - start)
            yield Tile(begin, served, start, at, (points, block) if pad else (at, served))
