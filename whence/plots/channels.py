"""A grid of the channels that a layer gives for a sample."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt
from typing import TYPE_CHECKING

import numpy as np

from whence.core.explanation import Explanation
from whence.plots.images import channels_last

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 3.2
"""Inches of the grid of one layer."""
MOST = 256
"""Channels drawn of a layer, the first ones."""


def channel_grids(explanation: Explanation, layout: str | None, samples: Sequence[int]) -> Figure:
    """A row per sample, a grid per layer; each grid on its own scale, which its title gives."""
    from matplotlib.figure import Figure

    layers = explanation.attributions
    figure = Figure(figsize=(SIDE * len(layers), (SIDE + 0.3) * len(samples)), layout="constrained")
    axes = figure.subplots(len(samples), len(layers), squeeze=False)
    for column, (name, values) in enumerate(layers.items()):
        maps = _channels(values, layout, name)
        for line, sample in zip(axes, samples, strict=True):
            shown = maps[sample]
            grid = mosaic(shown)
            line[column].imshow(grid, cmap="gray_r", interpolation="nearest")
            line[column].set_title(f"{name}: {shown.min():.2g} to {shown.max():.2g}", fontsize=8, loc="left")
            line[column].set(xticks=[], yticks=[], facecolor="#b0bec5")
            line[column].spines[:].set_visible(False)
    for line, sample in zip(axes, samples, strict=True):
        line[0].set_ylabel(f"sample {sample}", fontsize=8)
    return figure


def mosaic(maps: np.ndarray) -> np.ndarray:
    """Maps ``[K, H, W]`` in rows and columns with a gap of one pixel, NaN, between them."""
    count, height, width = maps.shape
    columns = ceil(sqrt(count * height / width))
    rows = ceil(count / columns)
    grid = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), np.nan)
    for i, channel in enumerate(maps):
        top, left = i // columns * (height + 1), i % columns * (width + 1)
        grid[top : top + height, left : left + width] = channel
    return grid


def _channels(values: np.ndarray, layout: str | None, name: str) -> np.ndarray:
    """``[B, K, H, W]``; units without places are pixels of a row."""
    if values.ndim <= 3:
        return np.asarray(values, np.float64).reshape(len(values), 1, -1, values.shape[-1] if values.ndim > 1 else 1)
    return np.asarray(np.moveaxis(channels_last(values, layout, f"layer {name!r}"), -1, 1)[:, :MOST], np.float64)
