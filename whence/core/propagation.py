"""Attributions by rules that compare with a reference, which runs beside the input: DeepLIFT and its mean over many.

The reference never shares a batch axis with the input: no sample can depend on another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from einops import rearrange

from whence.core.accumulate import Moments, sum_dtype
from whence.core.engine import Point, expand, leaf_values, points_of
from whence.core.ops import Ops, Tensor
from whence.core.place import Place
from whence.core.rule import RuleSet
from whence.core.schedule import Draws, concat, over_blocks
from whence.core.target import Target, select_score

if TYPE_CHECKING:
    from whence.core.context import Context, Leaves


@dataclass(frozen=True)
class Propagated:
    """Means over references: of the attributions, (x - x0) times multiplier, with their moments; and of the scores."""

    values: Leaves
    moments: tuple[Moments, ...]
    reference_score: Tensor


def from_references(
    ctx: Context, rules: RuleSet, reference: Point, *, samples: Sequence[Leaves], draws: Draws, count: int
) -> Propagated:
    """Explain ``ctx.x`` against ``count`` references ``reference(*samples, *draws)``, the first of samples being x."""
    under = ctx.under(rules)
    target = ctx.target
    leaf = _leaf(ctx.ops, ctx.place, reference, target)
    key = ("references", ctx.place, reference, target.key)
    blocks = list(over_blocks(under, leaf, key, samples, draws, count, np.ones(count), target, True))
    parts = [part for part, _, _ in blocks]
    merged = [_joined(ctx.ops, [part[i] for part in parts]) for i in range(len(ctx.x) + 1)]
    ctx.settle(concat(ctx.ops, [score[0] for _, score, _ in blocks]), target)
    return Propagated(tuple(m.mean for m in merged[:-1]), tuple(merged[:-1]), merged[-1].mean)


def _joined(ops: Ops, parts: Sequence[Moments]) -> Moments:
    return Moments(parts[0].count, concat(ops, [p.mean for p in parts]), concat(ops, [p.deviations for p in parts]))


def _leaf(ops: Ops, place: Place, reference: Point, target: Target) -> Callable[..., Any]:
    fn = target.fn

    def leaf(run: Any, inputs: Any, samples: Any, draws: Any, weights: Tensor, index: Tensor | None) -> Any:
        k = ops.shape(weights)[0]
        points, fixed, rows_index = points_of(ops, _itself, inputs, samples, draws, weights, index)
        x0 = []
        for i, x in enumerate(samples[0]):
            shape = (k, *ops.shape(x))
            x0.append(ops.broadcast_to(reference(*leaf_values(ops, samples, draws, i, shape)), shape))
        flat = [rearrange(p, "k b ... -> (k b) ...") for p in points]
        flat0 = [rearrange(p, "k b ... -> (k b) ...") for p in x0]
        rows, shapes = ops.shape(flat[0])[0], []

        def scores(*values: Tensor) -> Tensor:
            both = place.output(ops, run, fixed, values, reference=flat0)
            shapes.append(ops.shape(both[0]))
            return ops.stack([select_score(ops, output, rows, fn, rows_index)[0] for output in both])

        found, pullback = ops.vjp(scores, *flat)
        multipliers = pullback(ops.concat([ops.ones_like(found[:1]), ops.zeros_like(found[1:])]))
        score, score0 = (rearrange(found[i], "(k b) -> k b", k=k) for i in range(2))
        terms = [
            (x - b) * rearrange(m, "(k b) ... -> k b ...", k=k) for x, b, m in zip(points, x0, multipliers, strict=True)
        ]
        return tuple(_moments(ops, term, weights) for term in (*terms, score0)), score, None, shapes[-1]

    return leaf


def _moments(ops: Ops, terms: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over the first axis, and sum of squared deviations; padding has no weight."""
    terms = ops.astype(terms, sum_dtype(ops.dtype(terms)))
    w = ops.astype(expand(ops, weights, ops.shape(terms)), ops.dtype(terms))
    mean = ops.sum(w * terms, axis=0) / ops.sum(w, axis=0)
    return mean, ops.sum(w * (terms - mean) ** 2, axis=0)


def _itself(x: Tensor, *_: Tensor) -> Tensor:
    return x
