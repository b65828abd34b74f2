"""Tiles: every sample at every point once, within the rows that were asked for."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from whence.core.batching import GRADIENT_ROWS, MOST_ROWS, choose_rows, tile_points, tiles

SIZES = [*product((1, 2, 3, 5, 16, 33), (1, 2, 7, 25, 50, 301), (1, 2, 3, 8, 16, 64, 1000))]
RANDOM = [tuple(map(int, row)) for row in np.random.default_rng(0).integers(1, (40, 200, 300), (300, 3))]


@pytest.mark.parametrize("stretch", [False, True])
@pytest.mark.parametrize("pad", [False, True])
def test_tiles_cover_everything_once(stretch: bool, pad: bool) -> None:
    for batch, count, rows in SIZES + RANDOM:
        seen = np.zeros((count, batch), int)
        shapes = set()
        for tile in tiles(batch, count, rows, stretch=stretch, pad=pad):
            block = seen[tile.start : tile.start + tile.points, tile.first : tile.first + tile.samples]
            assert block.shape == (tile.points, tile.samples), "no tile reaches beyond the work"
            block += 1
            assert tile.shape >= (tile.points, tile.samples) and tile.shape[1] >= tile.samples
            assert pad or tile.shape == (tile.points, tile.samples)
            assert tile.shape[0] * tile.shape[1] <= (max(rows * 5 // 4, 1) if stretch else rows), (batch, count, rows)
            shapes.add(tile.shape)
        assert (seen == 1).all(), (batch, count, rows)
        assert not pad or len(shapes) == 1, "one shape, one compilation"


def test_all_points_of_a_block_come_before_the_next_block() -> None:
    order = [(t.first, t.start) for t in tiles(7, 20, 4, stretch=False, pad=True)]
    assert order == sorted(order)


def test_going_on_from_a_later_sample() -> None:
    for batch, count, rows in SIZES:
        for first in {0, 1, batch // 2} & set(range(batch)):
            covered = {s for t in tiles(batch, count, rows, stretch=True, pad=True, first=first)
                       for s in range(t.first, t.first + t.samples)}  # fmt: skip
            assert covered == set(range(first, batch))


def test_padding_wastes_little() -> None:
    for count, rows in product(range(1, 120), (8, 16, 32)):
        points = tile_points(count, 1, rows, stretch=True)
        run = -(-count // points) * points
        assert run - count <= max(0.25 * count, 0), (count, rows, points)


def test_rows_from_the_memory_budget() -> None:
    assert choose_rows(4, None, gradient=True) == MOST_ROWS[True]
    assert choose_rows(4, None, gradient=False) == MOST_ROWS[False] > MOST_ROWS[True]
    assert choose_rows(10**9, None, gradient=True) == GRADIENT_ROWS
    assert choose_rows(10**9, None, gradient=False, forward_rows=7) == 7
    assert choose_rows(10**9, 10**6, gradient=True) == 1, "some row is always tried"
    assert choose_rows(0, 10**9, gradient=True) >= 1
    many, few = (choose_rows(10**5, free, gradient=True) for free in (10**10, 10**8))
    assert few < many
