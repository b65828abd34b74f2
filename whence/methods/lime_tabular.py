"""LIME for tables: a linear model in "this column stays in its interval", fitted on rows drawn from the training data.

Ribeiro, Singh and Guestrin 2016, arXiv 1602.04938; conventions of the lime package's LimeTabularExplainer, version 0.2:
quartiles, columns drawn by themselves, Euclidean distances between the interval indicators, kernel width 0.75 sqrt(F).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from whence.core.coalitions import finite
from whence.core.context import Context
from whence.core.engine import host_scores_over_variants
from whence.core.errors import ParameterError, ShapeError
from whence.core.grouping import Grouping
from whence.core.method import Attribution, Method
from whence.core.ops import Tensor
from whence.core.sampling import generator
from whence.core.table import Table
from whence.core.validation import integer, positive, positive_int
from whence.methods.by_feature import attribution
from whence.methods.lime import Kernel, as_estimate
from whence.methods.surrogate import Surrogate


def replaced(x: Tensor, row: Tensor) -> Tensor:
    """The drawn row in the place of the sample."""
    return row + 0 * x


@dataclass(frozen=True, kw_only=True, repr=False)
class LIMETabular(Method):
    """Coefficients of a linear model in "column i stays in the sample's interval", ``[B, F]``.

    ``data``: training rows ``[M, F]``; numeric columns are cut at ``percentiles`` (quartiles), ``categorical`` ones
    are kept whole. Of ``n_samples`` rows drawn from the intervals, column by column, each tells by indicators z[F]
    which columns stayed in the sample's interval; weights are sqrt(exp(-d^2 / width^2)) with d the Euclidean distance
    from all ones and ``kernel_width`` 0.75 sqrt(F) if None, or ``kernel(d)``. Surrogate and choice of features: see
    LIME. ``features.names`` say the intervals. The same rows serve all samples.

    Source: Ribeiro, Singh and Guestrin 2016, arXiv 1602.04938.
    """

    name: ClassVar[str] = "lime_tabular"
    needs_gradient: ClassVar[bool] = False
    shares_passes: ClassVar[bool] = True
    attributes_whole_numbers: ClassVar[bool] = True

    data: Any = None
    names: Sequence[str] | None = None
    categorical: tuple[int, ...] = ()
    percentiles: tuple[float, ...] = (25, 50, 75)
    n_samples: int = 5000
    kernel: Kernel | None = None
    kernel_width: float | None = None
    surrogate: Any = None
    n_features: int | None = 10
    feature_selection: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        positive_int("n_samples", self.n_samples)
        integer("seed", self.seed)
        if self.kernel_width is not None:
            positive("kernel_width", self.kernel_width)
        self._surrogate()
        if self.data is None:
            raise ParameterError("data of lime_tabular", received="None", valid="training rows [M, F]")
        self._table()

    def _surrogate(self) -> Surrogate:
        return Surrogate(self.surrogate, self.n_features, self.feature_selection)

    def _table(self) -> Table:
        return Table(self.data, self.percentiles, self.categorical, self.names)

    def compute(self, ctx: Context) -> Attribution:
        table, x = self._table(), np.asarray(ctx.ops.to_numpy(ctx.x[0]), np.float64)
        require_rows(ctx, table)
        if self.n_samples < table.width + 1:
            raise ParameterError(
                f"lime_tabular over {table.width} columns",
                received=f"n_samples={self.n_samples}",
                valid=f"{table.width + 1} at least, better ten times as many",
            )
        rows, cells = table.drawn(generator(self.seed, "lime_tabular", 0, 0), self.n_samples - 1)
        if not ctx.ops.is_floating(ctx.x[0]):
            rows = np.round(rows).astype(np.int64)
        v = rows_scores(ctx, rows)
        v = np.concatenate([np.asarray(ctx.ops.to_numpy(ctx.score), np.float64)[None], v])
        own, fits = table.cells(x), []
        for b in range(ctx.batch):
            z = np.concatenate([np.ones((1, table.width)), cells == own[b]]).astype(np.float64)
            fits.append(self._surrogate().fit(z, v[:, b], self._weights(z)))
        names = [[table.described(c, own[b, c], x[b, c]) for c in range(table.width)] for b in range(ctx.batch)]
        grouping = Grouping(
            (np.arange(table.width)[None],),
            np.full(ctx.batch, table.width),
            tuple(row.__getitem__ for row in names),
        )
        return attribution(ctx, grouping, [(np.arange(ctx.batch), as_estimate(fits))])

    def _weights(self, z: np.ndarray) -> np.ndarray:
        distance = np.sqrt((1 - z).sum(axis=1))
        if self.kernel is not None:
            return np.asarray(self.kernel(distance), np.float64)
        width = 0.75 * z.shape[1] ** 0.5 if self.kernel_width is None else self.kernel_width
        return np.asarray(np.sqrt(np.exp(-(distance**2) / width**2)))


def require_rows(ctx: Context, table: Table) -> None:
    """Raise ShapeError unless what is explained is a table ``[B, F]`` with the training data's columns."""
    shapes = [ctx.ops.shape(x) for x in ctx.x]
    if len(shapes) != 1 or shapes[0][1:] != (table.width,):
        raise ShapeError(
            "rows of a table",
            received=f"inputs of shapes {shapes}",
            valid=f"one input [B, {table.width}], as the training rows have",
        )


def rows_scores(ctx: Context, rows: np.ndarray) -> np.ndarray:
    """Scores ``[K, B]`` of rows ``[K, F]`` in the place of every sample, in float64."""

    def drawn(points: range, samples: slice) -> tuple[np.ndarray, ...]:
        return (rows[points.start : points.stop, None],)

    scores = host_scores_over_variants(ctx, replaced, samples=(ctx.x,), draws=(drawn,), count=len(rows))
    return finite(ctx, scores)
