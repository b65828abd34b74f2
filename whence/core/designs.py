"""Which cells are on in each variant: independent draws, or balanced ones from Hadamard matrices."""

from __future__ import annotations

import numpy as np

from whence.core.errors import ParameterError
from whence.core.sampling import generator
from whence.core.validation import one_of

SAMPLING = ("hadamard", "independent")


def check(sampling: str, probability: float) -> None:
    """Raise ParameterError for an unknown design, or one that does not have this probability."""
    one_of("sampling", sampling, SAMPLING)
    if not 0 < probability < 1:
        raise ParameterError("probability", received=repr(probability), valid="a number between 0 and 1")
    if sampling == "hadamard" and probability != 0.5:
        raise ParameterError(
            "sampling 'hadamard'",
            received=f"probability {probability!r}",
            valid='probability 0.5, or sampling="independent"',
        )


def on_off(sampling: str, n_samples: int, cells: int, probability: float, *, seed: int, stream: str) -> np.ndarray:
    """``[n_samples, cells]`` of truth values, each cell on with the given probability."""
    if sampling == "independent":
        rng = generator(seed, stream, 0, 0)
        return np.asarray(rng.random((n_samples, cells), dtype=np.float32) < probability)
    blocks = (_hadamard_block(cells, seed, stream, draw) for draw in range(n_samples))
    found: list[np.ndarray] = []
    while sum(map(len, found)) < n_samples:
        found.append(next(blocks))
    return np.concatenate(found)[:n_samples]


def _hadamard_block(cells: int, seed: int, stream: str, draw: int) -> np.ndarray:
    """Rows of a Hadamard matrix, each followed by its opposite: pairs of cells take all four states equally often.

    Columns are chosen and flipped, and rows ordered, at random, so that a single row is an independent draw.
    """
    order = 1 << int(cells).bit_length()
    matrix = np.ones((1, 1), np.int8)
    while len(matrix) < order:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    rng = generator(seed, stream, 0, draw)
    columns = 1 + rng.permutation(order - 1)[:cells]
    signs = np.where(rng.random(cells) < 0.5, 1, -1).astype(np.int8)
    rows = matrix[rng.permutation(order)][:, columns] * signs
    return np.asarray(np.stack([rows, -rows], axis=1).reshape(-1, cells) > 0)
