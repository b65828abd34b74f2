"""Variants of one sample at a layer, with the network before the layer run on a single row instead of one per variant.

What goes past the layer, a residual branch say, is then one row that broadcasts against the variants: the same numbers,
since all are of one sample. A model that needs equal rows, for it reshapes by the batch size say, is found out first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from whence.core import engine

if TYPE_CHECKING:
    from whence.core.context import Context

CLOSE = 1e-3
"""Relative difference up to which scores count as the same, of a float32 network with other sums."""


def with_one_prefix(at_layer: Context, sample: int) -> Context:
    """The context of one sample, the network before its layer on one row."""
    one = at_layer.taken([sample])
    return replace(one, place=replace(one.place, one_prefix=True))


def takes_one_prefix(at_layer: Context) -> bool:
    """Whether the model gives the same scores this way; asked once per model and layer."""
    key = ("one prefix", at_layer.model.key, at_layer.place, at_layer.target.key)
    verdict: bool = at_layer.model.store.get(key, lambda: _same_scores(at_layer))
    return verdict


def _same_scores(at_layer: Context) -> bool:
    wanted = _three_scores(at_layer.taken([0]))
    try:
        found = _three_scores(with_one_prefix(at_layer, 0))
    except Exception:  # whatever a model says to rows of unequal number
        return False
    return bool(np.all(np.abs(found - wanted) <= CLOSE * np.abs(wanted).max()))


def _three_scores(ctx: Context) -> np.ndarray:
    """Scores at shares of the activation."""
    shares = np.array([1.0, 0.5, 0.0])
    scores = engine.scores_over_variants(ctx, engine.scaled, samples=(ctx.x,), draws=(shares,), count=3)
    return np.asarray(ctx.ops.to_numpy(scores), np.float64)
