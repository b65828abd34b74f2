"""Signed maps as colours: symmetric about zero, scaled by a percentile, so that a single pixel does not wash it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from whence.core.errors import ParameterError
from whence.core.validation import one_of
from whence.plots.images import REDUCTIONS, reduced


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """How signed attributions become colours.

    ``percentile``: the share of a map's absolute values, in percent, that the colours resolve; what is larger gets the
    end colours. ``channels``: how channels become one map, ``"sum"``, ``"mean"``, ``"absolute_sum"`` or
    ``"strongest"``. ``cmap``: a diverging colour map of matplotlib, its middle at zero. ``alpha``: the most that an
    overlay hides of the image.
    """

    percentile: float = 99.0
    channels: str = "sum"
    cmap: str = "RdBu_r"
    alpha: float = 0.85

    def __post_init__(self) -> None:
        if not 0 < self.percentile <= 100:
            raise ParameterError("percentile", received=repr(self.percentile), valid="a number above 0, up to 100")
        if not 0 <= self.alpha <= 1:
            raise ParameterError("alpha", received=repr(self.alpha), valid="a number from 0 to 1")
        one_of("channels", self.channels, REDUCTIONS)

    def maps(self, values: np.ndarray) -> np.ndarray:
        """Maps ``[B, H, W]`` of attributions ``[B, H, W, C]``."""
        return reduced(values, self.channels)

    def limit(self, values: np.ndarray) -> float:
        """The value of the end colours; colours run from ``-limit`` to ``limit``."""
        size = np.abs(values)
        # a map of few pixels other than zero has its percentile at zero
        return float(np.percentile(size, self.percentile)) or float(size.max()) or 1.0

    @property
    def colour_map(self) -> Any:
        """Matplotlib's colour map of that name."""
        from matplotlib import colormaps

        if self.cmap not in colormaps:
            raise ParameterError(
                "cmap", received=repr(self.cmap), valid='a colour map of matplotlib, such as "RdBu_r" or "PiYG"'
            )
        return colormaps[self.cmap]

    def colours(self, values: np.ndarray, limit: float | None = None) -> np.ndarray:
        """``[H, W, 4]`` of values ``[H, W]``, between 0 and 1."""
        limit = self.limit(values) if limit is None else limit
        return np.asarray(self.colour_map(np.clip(values / limit, -1, 1) / 2 + 0.5))

    def overlay(self, values: np.ndarray, limit: float | None = None) -> np.ndarray:
        """``colours`` that let the image through where attributions are small."""
        limit = self.limit(values) if limit is None else limit
        colours = self.colours(values, limit)
        colours[..., 3] = self.alpha * np.sqrt(np.clip(np.abs(values) / limit, 0, 1))
        return colours
