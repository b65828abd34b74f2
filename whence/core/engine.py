"""The two engines that serve every method, over tiles of samples by points.

``grad_over_points``: sum over k of w_k times a term of the gradient at point k (integrated gradients, SmoothGrad, ...).
``scores_over_variants``: scores of K variants of each sample (scores at the input and the baseline, perturbation).

The work on one tile is a leaf: it builds the points from what it is given, runs the model and reduces, and is
compiled once per model and tile shape where the framework compiles. Sums accumulate tile by tile, so that memory
does not grow with the number of points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from einops import rearrange, repeat

from whence.core.accumulate import Moments, sum_dtype
from whence.core.batching import tiles
from whence.core.errors import LayerError
from whence.core.model import Run
from whence.core.ops import Ops, Tensor
from whence.core.place import Place
from whence.core.schedule import Draws, block_of, concat, over_blocks
from whence.core.scores import Score
from whence.core.target import Target, select_score

if TYPE_CHECKING:
    from whence.core.context import Context, Leaves

Point = Callable[..., Tensor]
"""``point(*samples, *draws) -> [k, b, ...]`` for one attributed tensor; samples come as ``[1, b, ...]``, draws as
``[k, 1, ...]``, ``[k, b, 1, ...]`` or ``[k, b, ...]``."""
Term = Callable[..., Tensor]
"""``term(gradient, *samples, *draws) -> [k, b, ...]``: what is summed, the gradient itself if not given."""


def identity(x: Tensor) -> Tensor:
    """The point that is the sample itself."""
    return x


def scaled(x: Tensor, share: Tensor) -> Tensor:
    """A share of the sample."""
    return x * share


def straight_line(x: Tensor, baseline: Tensor, alpha: Tensor) -> Tensor:
    """x' + alpha (x - x')."""
    return baseline + alpha * (x - baseline)


@dataclass(frozen=True)
class Either:
    """The sample itself, or the other, which leaves it alone whatever it holds."""

    ops: Ops

    def __call__(self, x: Tensor, other: Tensor, itself: Tensor) -> Tensor:
        return self.ops.where(itself, x, other)


@dataclass(frozen=True)
class GradientSum:
    """What ``grad_over_points`` found, per attributed tensor: weighted sums, or moments of the terms over points."""

    total: Leaves
    moments: tuple[Moments, ...] = ()


def grad_over_points(
    ctx: Context,
    point: Point,
    *,
    samples: Sequence[Leaves],
    draws: Draws,
    count: int,
    weights: np.ndarray | None = None,
    term: Term | None = None,
    moments: bool = False,
) -> GradientSum:
    """Sum over ``count`` points of weight times term of the gradient at the point; mean over points by default.

    ``point`` and ``term`` are module-level functions, since compiled code is found again by their identity.
    With ``moments``, equal weights are meant and mean and deviations over the points are kept.
    """
    at_x = point is identity and count == 1
    target = ctx.given_target if at_x else ctx.target
    leaf = _gradient_leaf(ctx.ops, ctx.place, point, term, target, moments)
    key = ("gradients", ctx.place, point, term, target.key, moments)
    weights = np.ones(count) if moments else np.full(count, 1 / count) if weights is None else weights
    blocks = list(over_blocks(ctx, leaf, key, samples, draws, count, weights, target, True))
    if at_x:
        ctx.settle(
            rearrange(joined(ctx.ops, [score for _, score, _ in blocks]), "1 b -> b"),
            settled(ctx, target, [chosen for _, _, chosen in blocks]),
        )

    def whole(part: Callable[[Any], Tensor]) -> Leaves:
        """One part of the sums of all blocks, in the shapes of the attributed tensors."""
        found = (concat(ctx.ops, [part(sums[i]) for sums, _, _ in blocks]) for i, _ in enumerate(ctx.x))
        return tuple(_shaped(ctx.ops, part, ctx.ops.shape(x)[1:]) for part, x in zip(found, ctx.x, strict=True))

    if moments:
        counts = (part.count for part in blocks[0][0])
        mean, deviations = whole(lambda sums: sums.mean), whole(lambda sums: sums.deviations)
        return GradientSum(mean, tuple(map(Moments, counts, mean, deviations)))
    return GradientSum(whole(lambda sums: sums.total))


def scores_over_variants(ctx: Context, point: Point, *, samples: Sequence[Leaves], draws: Draws, count: int) -> Tensor:
    """Scores ``[count, B]`` of variants of each sample, without a graph."""
    return _of_passes(ctx, point, count, lambda: _variants(ctx, point, samples, draws, count, ctx.target)[0])


def host_scores_over_variants(
    ctx: Context, point: Point, *, samples: Sequence[Leaves], draws: Draws, count: int
) -> np.ndarray:
    """The same in float64 on the host, where the tiles' scores are put together at less cost."""

    def on_host(score: Tensor) -> np.ndarray:
        ctx.work.score_dtype = ctx.ops.dtype(score)
        return ctx.ops.to_numpy(score)

    def found() -> np.ndarray:
        return np.asarray(_variants(ctx, point, samples, draws, count, ctx.target, on_host)[0], np.float64)

    return np.asarray(_of_passes(ctx, point, count, found))


def _of_passes(ctx: Context, point: Point, count: int, compute: Callable[[], Any]) -> Any:
    """The scores of the target whose turn it is, where several are explained together."""
    passes = ctx.work.passes
    if passes is None:
        return compute()
    return passes.next((ctx.place, point, count, ctx.sample_ids), compute)[..., passes.current]


def score_and_target(ctx: Context) -> tuple[Tensor, Target]:
    """Scores ``[B]`` at ``x``, and the target with the predicted class filled in where it was asked for."""
    if ctx.given_target.together:
        return scores_over_variants(ctx, identity, samples=(ctx.x,), draws=(), count=1)[0], ctx.given_target
    scores, chosen = _variants(ctx, identity, (ctx.x,), (), 1, ctx.given_target)
    return rearrange(scores, "1 b -> b"), settled(ctx, ctx.given_target, chosen)


def activations(ctx: Context, inputs: Leaves, layers: Sequence[str]) -> list[Tensor]:
    """The outputs ``[B, ...]`` of layers, from one forward pass, in chunks."""
    structure = ctx.place.structure

    def leaf(run: Run, inputs: Leaves) -> tuple[Tensor, ...]:
        tapped = run(structure.unflatten(inputs), taps=list(layers))[1]
        return tuple(tapped[layer] for layer in layers)

    compiled = ctx.model.compile(leaf, ("activations", structure, tuple(layers)))
    found: list[list[Tensor]] = [[] for _ in layers]
    for tile in tiles(
        ctx.ops.shape(inputs[0])[0], 1, ctx.rows(gradient=False), stretch=False, pad=ctx.ops.static_shapes
    ):
        rows = block_of(ctx.ops, inputs, tile)
        for parts, layer, values in zip(found, layers, ctx.ops.evaluate(compiled, rows), strict=True):
            require_tensor(ctx.ops, layer, values)
            parts.append(values[: tile.samples])
        ctx.work.forward_rows += tile.shape[1]
    return [concat(ctx.ops, parts) for parts in found]


def require_tensor(ops: Ops, layer: str, value: Any) -> None:
    """Raise LayerError for a layer whose output is something else."""
    if not ops.is_tensor(value):
        raise LayerError(
            f"layer {layer!r}",
            received=f"an output of type {type(value).__name__}",
            valid="a layer whose output is a tensor, or a tuple that starts with one",
        )


# -- leaves ------------------------------------------------------------------------------------------------
def _gradient_leaf(
    ops: Ops, place: Place, point: Point, term: Term | None, target: Target, moments: bool
) -> Callable[..., Any]:
    fn = target.fn

    def leaf(run: Run, inputs: Any, samples: Any, draws: Any, weights: Tensor, index: Tensor | None) -> Any:
        values, fixed, rows_index = points_of(ops, point, inputs, samples, draws, weights, index)
        flat = [rearrange(p, "k b ... -> (k b) ...") for p in values]
        rows = ops.shape(flat[0])[0]
        output, pullback = ops.vjp(lambda *points: place.output(ops, run, fixed, points), *flat)
        score, chosen, cotangent = score_and_cotangent(ops, output, rows, fn, rows_index)
        gradients = pullback(cotangent)
        reduced = []
        k = ops.shape(weights)[0]
        for i, g in enumerate(gradients):
            g = rearrange(g, "(k b) ... -> k b ...", k=k)
            if term is not None:
                g = term(g, *leaf_values(ops, samples, draws, i, ops.shape(g)))
            g = ops.astype(g, sum_dtype(ops.dtype(g)))
            w = ops.astype(weights, ops.dtype(g))
            if moments:
                mean = ops.weighted_sum(w, g) / ops.sum(w)
                reduced.append((_flat(ops, mean), _flat(ops, ops.weighted_sum(w, (g - mean) ** 2))))
            else:
                reduced.append(_flat(ops, ops.weighted_sum(w, g)))
        return tuple(reduced), rearrange(score, "(k b) -> k b", k=k), chosen, ops.shape(output)

    return leaf


def _variant_leaf(ops: Ops, place: Place, point: Point, target: Target) -> Callable[..., Any]:
    fns, together = tuple(one.fn for one in target.together or (target,)), bool(target.together)

    def leaf(run: Run, inputs: Any, samples: Any, draws: Any, weights: Tensor, index: Any) -> Any:
        values, fixed, _ = points_of(ops, point, inputs, samples, draws, weights, None)
        flat = [rearrange(p, "k b ... -> (k b) ...") for p in values]
        output, k, scores = place.output(ops, run, fixed, flat), ops.shape(weights)[0], []
        for fn, one in zip(fns, index if together else (index,), strict=True):
            known = one if one is None or fn is None else repeat(one, "b ... -> (k b) ...", k=k)
            score, chosen = select_score(ops, output, ops.shape(flat[0])[0], fn, known)
            scores.append(rearrange(score, "(k b) -> k b", k=k))
        return (), ops.stack(scores, axis=2) if together else scores[0], chosen, ops.shape(output)

    return leaf


def score_and_cotangent(
    ops: Ops, output: Tensor, rows: int, fn: Callable[..., Tensor] | Score | None, index: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor]:
    """The score ``[rows]``, the index chosen where none was given, and the derivative of the score by the output."""
    chosen: Tensor | None = None
    if fn is None and index is None:
        _, chosen = select_score(ops, output, rows, None, None)
    aim = index if chosen is None else chosen
    score, pull_score = ops.vjp(lambda out: select_score(ops, out, rows, fn, aim)[0], output)
    return score, chosen, pull_score(ops.ones_like(score))[0]


def points_of(
    ops: Ops, point: Point, inputs: Any, samples: Any, draws: Any, weights: Tensor, index: Tensor | None
) -> tuple[list[Tensor], tuple[Tensor | None, ...], Tensor | None]:
    """The points ``[k, b, ...]`` of each attributed tensor; held inputs and target indices repeated to as many rows."""
    k = ops.shape(weights)[0]
    points = []
    for i, x in enumerate(samples[0]):
        shape = (k, *ops.shape(x))
        points.append(ops.broadcast_to(point(*leaf_values(ops, samples, draws, i, shape)), shape))
    fixed = tuple(None if x is None else repeat(x, "b ... -> (k b) ...", k=k) for x in inputs)
    return points, fixed, None if index is None else repeat(index, "b ... -> (k b) ...", k=k)


def leaf_values(ops: Ops, samples: Any, draws: Any, i: int, shape: Sequence[int]) -> list[Tensor]:
    """The samples and draws for attributed tensor i, to be broadcast to ``[k, b, ...]``."""
    per_draw = [d[i] if isinstance(d, tuple) else d for d in draws]
    return [s[i][None] for s in samples] + [
        _cast(ops, expand(ops, d, shape), ops.dtype(samples[0][i])) for d in per_draw
    ]


def _cast(ops: Ops, draw: Tensor, dtype: str) -> Tensor:
    """Numbers in the dtype of the values they are computed with; whole numbers and truth values as they are."""
    return ops.astype(draw, dtype) if ops.is_floating(draw) else draw


def expand(ops: Ops, x: Tensor, shape: Sequence[int]) -> Tensor:
    """Append axes of length one until ``x`` has as many as ``shape``."""
    missing = len(shape) - len(ops.shape(x))
    return x[(..., *(None,) * missing)] if missing else x


def _flat(ops: Ops, x: Tensor) -> Tensor:
    """``[b, n]``, in which form compiled code hands sums over: XLA's loops over a last axis of three channels are slow.

    Elsewhere it would be a copy.
    """
    return rearrange(x, "b ... -> b (...)") if ops.static_shapes else x


def _shaped(ops: Ops, x: Tensor, sizes: Sequence[int]) -> Tensor:
    """``[b, *sizes]`` of what ``_flat`` gave."""
    axes = {f"d{i}": size for i, size in enumerate(sizes)}
    return rearrange(x, f"b ({' '.join(axes) or '1'}) -> b {' '.join(axes)}", **axes) if ops.static_shapes else x


# -- the loop over tiles -------------------------------------------------------------------------------------
def _variants(
    ctx: Context, point: Point, samples: Sequence[Leaves], draws: Draws, count: int, target: Target,
    kept: Callable[[Tensor], Any] | None = None,
) -> tuple[Any, list[Tensor | None]]:  # fmt: skip
    leaf = _variant_leaf(ctx.ops, ctx.place, point, target)
    key = ("variants", ctx.place, point, target.key)
    blocks = list(over_blocks(ctx, leaf, key, samples, draws, count, np.ones(count), target, False, kept=kept))
    return concat(ctx.ops, [score for _, score, _ in blocks], axis=1), [chosen for _, _, chosen in blocks]


def settled(ctx: Context, target: Target, chosen: Sequence[Tensor | None]) -> Target:
    if target.key != "predicted":
        return target
    return Target(index=np.concatenate([ctx.ops.to_numpy(c) for c in chosen]).astype(np.int64))


def joined(ops: Ops, scores: Sequence[Tensor]) -> Tensor:
    """Scores ``[count, B]`` from those of blocks of samples."""
    return scores[0] if len(scores) == 1 else ops.concat(scores, axis=1)
