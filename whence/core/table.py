"""A table's columns cut into intervals, and rows drawn from them: what LIME and anchors perturb tables with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from whence.core.baselines import host
from whence.core.errors import ParameterError, ShapeError


@dataclass(frozen=True, eq=False)
class Table:
    """Training rows ``[M, F]`` and how their columns are cut.

    ``percentiles``: where numeric columns are cut; ``categorical``: numbers of the columns whose values are kept whole.
    ``names``: of the columns. Cells of a column with one distinct value are one interval.
    """

    rows: Any
    percentiles: tuple[float, ...] = (25, 50, 75)
    categorical: Sequence[int] = ()
    names: Sequence[str] | None = None
    data: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        data = np.asarray(host(self.rows))
        if data.ndim != 2 or not len(data) or data.dtype.kind not in "fiu" or not np.isfinite(data).all():
            raise ShapeError(
                "training rows", received=f"{data.dtype} of shape {data.shape}", valid="finite numbers [M, F]"
            )
        if any(not 0 <= int(c) < data.shape[1] for c in self.categorical):
            raise ParameterError(
                "categorical",
                received=repr(tuple(self.categorical)),
                valid=f"numbers of columns, 0 to {data.shape[1] - 1}",
            )
        if self.names is not None and len(self.names) != data.shape[1]:
            raise ParameterError("names", received=f"{len(self.names)} names", valid=f"{data.shape[1]} of them")
        object.__setattr__(self, "data", data)

    @property
    def width(self) -> int:
        """The number of columns, F."""
        return int(self.data.shape[1])

    @cached_property
    def edges(self) -> tuple[np.ndarray, ...]:
        """The cuts of each column, without repetitions; the values themselves, but the last, of a categorical one."""
        return tuple(
            np.unique(self.data[:, c])[:-1]
            if c in set(self.categorical)
            else np.unique(np.percentile(self.data[:, c], self.percentiles))
            for c in range(self.width)
        )

    def cells(self, rows: np.ndarray) -> np.ndarray:
        """The interval ``[K, F]`` of every number, from 0; an edge belongs to the interval below it."""
        return np.stack([np.searchsorted(e, rows[:, c]) for c, e in enumerate(self.edges)], axis=1)

    @cached_property
    def training_cells(self) -> np.ndarray:
        """The intervals of the training rows, ``[M, F]``."""
        return self.cells(self.data)

    def described(self, column: int, cell: int, value: float) -> str:
        """An interval in words: ``2.5 < petal width <= 3``, or ``colour = 2``."""
        name, edges = self.name(column), self.edges[column]
        if column in set(self.categorical):
            return f"{name} = {value:.4g}"
        low = f"{edges[cell - 1]:.4g} < " if cell > 0 else ""
        if cell == len(edges):
            return f"{name} > {edges[-1]:.4g}" if len(edges) else f"any {name}"
        return f"{low}{name} <= {edges[cell]:.4g}"

    def name(self, column: int) -> str:
        """What a column is called."""
        return f"column {column}" if self.names is None else str(self.names[column])

    def drawn(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """``count`` rows whose columns are drawn by themselves, and their cells.

        A cell is drawn as often as it occurs; in it, a numeric value from a normal distribution with the mean and the
        deviation of the training values there, cut off at their extremes, as the lime package has it.
        """
        from scipy.special import ndtr, ndtri

        values = np.empty((count, self.width))
        cells = np.empty((count, self.width), np.int64)
        for c in range(self.width):
            which = self.training_cells[rng.integers(0, len(self.data), count), c]
            cells[:, c], u = which, rng.random(count)
            for cell in np.unique(which):
                here, own = which == cell, self.data[self.training_cells[:, c] == cell, c].astype(np.float64)
                mean, spread = own.mean(), own.std()
                if spread == 0 or c in set(self.categorical):
                    values[here, c] = own[0]
                    continue
                low, high = ndtr((own.min() - mean) / spread), ndtr((own.max() - mean) / spread)
                values[here, c] = mean + spread * ndtri(low + u[here] * (high - low))
        return values, cells
