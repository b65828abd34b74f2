"""Random draws from a counter-based generator, the same on every framework, device and batch split.

A draw is keyed by (seed, stream, sample, draw); nothing global is read or seeded. Streams keep the draws of
different purposes apart. Values are float32 whatever the model computes in, so that a model and its float64 twin see
the same draws. Channels-first data are drawn channels last and moved, so that a model's port with the
other layout sees the same noise.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np

Fill = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def generator(seed: int, stream: str, sample: int, draw: int) -> np.random.Generator:
    """The generator of one draw for one sample."""
    key = np.array([int(seed) % 2**64, zlib.crc32(stream.encode())], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, draw, sample], dtype=np.uint64)))


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal values."""
    return rng.standard_normal(shape, dtype=np.float32)


def uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Values uniform in [0, 1)."""
    return rng.random(shape, dtype=np.float32)


def draw(
    fill: Fill,
    shape: tuple[int, ...],
    *,
    seed: int,
    stream: str,
    samples: Sequence[int],
    draws: Sequence[int],
    channel_axis: int | None = None,
    dtype: str = "float32",
) -> np.ndarray:
    """Values ``[len(draws), len(samples), *shape]``; ``channel_axis`` is the place of channels in ``shape``.

    With ``dtype`` float64 they are the same numbers, to be computed with in float64.
    """
    drawn = shape if channel_axis is None else (*np.delete(shape, channel_axis).tolist(), shape[channel_axis])
    values = np.empty((len(draws), len(samples), *drawn), np.float64 if dtype == "float64" else np.float32)
    for k, d in enumerate(draws):
        for b, s in enumerate(samples):
            values[k, b] = fill(generator(seed, stream, s, d), tuple(drawn))
    return values if channel_axis is None else np.ascontiguousarray(np.moveaxis(values, -1, 2 + channel_axis))
