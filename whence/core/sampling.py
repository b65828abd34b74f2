"""Random draws from a counter-based generator, the same on every framework, device and batch split.

A draw is keyed by (seed, stream, sample, draw); nothing global is read or seeded. Streams keep the draws of
different purposes apart. Channels-first data are drawn channels last and moved, so that a model's port with the
other layout sees the same noise.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np

Fill = Callable[[np.random.Generator, tuple[int, ...], str], np.ndarray]


def generator(seed: int, stream: str, sample: int, draw: int) -> np.random.Generator:
    """The generator of one draw for one sample."""
    key = np.array([seed % 2**64, zlib.crc32(stream.encode())], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, draw, sample], dtype=np.uint64)))


def normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Standard normal values."""
    return rng.standard_normal(shape, dtype=np.float64 if dtype == "float64" else np.float32)


def uniform(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Values uniform in [0, 1)."""
    return rng.random(shape, dtype=np.float64 if dtype == "float64" else np.float32)


def draw(
    fill: Fill,
    shape: tuple[int, ...],
    *,
    seed: int,
    stream: str,
    samples: Sequence[int],
    draws: Sequence[int],
    dtype: str = "float64",
    channel_axis: int | None = None,
) -> np.ndarray:
    """Values ``[len(draws), len(samples), *shape]``; ``channel_axis`` is the place of channels in ``shape``."""
    drawn = shape if channel_axis is None else (*np.delete(shape, channel_axis).tolist(), shape[channel_axis])
    values = np.empty((len(draws), len(samples), *drawn), np.float64 if dtype == "float64" else np.float32)
    for k, d in enumerate(draws):
        for b, s in enumerate(samples):
            values[k, b] = fill(generator(seed, stream, s, d), tuple(drawn), dtype)
    return values if channel_axis is None else np.ascontiguousarray(np.moveaxis(values, -1, 2 + channel_axis))
