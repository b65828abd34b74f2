"""Changes of one sample at a layer, with the network before the layer run on a single row instead of one per change.

The changes are made where the layer gives its output, in the pass that finds it. What goes past the layer, a residual
branch say, is then one row that broadcasts against them: the same numbers, since all are of one sample. A model that
needs equal rows, for it reshapes by the batch size say, is found out first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from einops import rearrange, repeat

from whence.core.engine import Point, leaf_values, scaled, scores_over_variants
from whence.core.inside import output_seen
from whence.core.model import Run
from whence.core.ops import Ops, Tensor
from whence.core.place import Place
from whence.core.schedule import Draws, over_blocks
from whence.core.target import Target, select_score

if TYPE_CHECKING:
    from whence.core.context import Context

CLOSE = 1e-3
"""Relative difference up to which scores count as the same, of a float32 network with other sums."""


def activation_and_scores(ctx: Context, layer: str, change: Point, draws: Draws, count: int) -> tuple[Tensor, Tensor]:
    """Of one sample, the activation ``[1, ...]`` of a layer and the scores ``[count, 1]`` of changes of it.

    ``change(activation, *draws) -> [k, 1, ...]``, as a point is made of a sample.
    """
    place, target = replace(ctx.place, one_prefix=True), ctx.target
    leaf = _leaf(ctx.ops, place, layer, change, target)
    key = ("changes", place, layer, change, target.key)
    ones, alone = np.ones(count), replace(ctx, place=place)
    blocks = over_blocks(alone, leaf, key, (ctx.x,), draws, count, ones, target, False, merge=_first)
    ((activation,), scores, _) = next(iter(blocks))
    return activation, scores


def takes_one_prefix(ctx: Context, layer: str) -> bool:
    """Whether the model gives the same scores this way; asked once per model and layer."""
    key = ("one prefix", ctx.model.key, ctx.place, layer, ctx.given_target.key)
    verdict: bool = ctx.model.store.get(key, lambda: _same_scores(ctx.taken([0]), layer))
    return verdict


def _same_scores(one: Context, layer: str) -> bool:
    shares = np.array([1.0, 0.5, 0.0])
    at_layer = one.at_layer(layer)
    wanted = scores_over_variants(at_layer, scaled, samples=(at_layer.x,), draws=(shares,), count=3)
    try:
        _, found = activation_and_scores(one, layer, scaled, (shares,), 3)
    except Exception:  # whatever a model says to rows of unequal number
        return False
    wanted, found = (np.asarray(one.ops.to_numpy(scores), np.float64) for scores in (wanted, found))
    return bool(np.all(np.abs(found - wanted) <= CLOSE * np.abs(wanted).max()))


def _leaf(ops: Ops, place: Place, layer: str, change: Point, target: Target) -> Callable[..., Any]:
    fn = target.fn

    def leaf(run: Run, inputs: Any, samples: Any, draws: Any, weights: Tensor, index: Tensor | None) -> Any:
        k, found = ops.shape(weights)[0], []

        def changed(_: str, activation: Tensor) -> Tensor:
            found.append(activation)
            shape = (k, *ops.shape(activation))
            points = change(*leaf_values(ops, [[activation]], draws, 0, shape))
            return rearrange(ops.broadcast_to(points, shape), "k b ... -> (k b) ...")

        output = output_seen(ops, place, run, inputs, samples[0], [layer], changed)
        rows_index = None if index is None else repeat(index, "b ... -> (k b) ...", k=k)
        score, chosen = select_score(ops, output, k, fn, rows_index)
        return found, score[:, None], chosen, ops.shape(output)

    return leaf


def _first(before: list[Any] | None, tile: Any, _: int) -> list[Any]:
    return list(tile) if before is None else before
