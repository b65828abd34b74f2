"""The two engines that serve every method, over tiles of samples by points.

``grad_over_points``: sum over k of w_k times a term of the gradient at point k (integrated gradients, SmoothGrad, ...).
``scores_over_variants``: scores of K variants of each sample (scores at the input and the baseline, perturbation).

The work on one tile is a leaf: it builds the points from what it is given, runs the model and reduces, and is
compiled once per model and tile shape where the framework compiles. Sums accumulate tile by tile, so that memory
does not grow with the number of points.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np
from einops import rearrange, repeat

from whence.core.accumulate import HALF, Moments, Sum, sum_dtype
from whence.core.batching import Tile, tiles
from whence.core.errors import BatchMixingWarning, LayerError
from whence.core.model import Run
from whence.core.ops import Ops, Tensor
from whence.core.place import Place
from whence.core.target import Target, select_score

if TYPE_CHECKING:
    from whence.core.context import Context, Leaves

Point = Callable[..., Tensor]
"""``point(*samples, *draws) -> [k, b, ...]`` for one attributed tensor; samples come as ``[1, b, ...]``, draws as
``[k, 1, ...]``, ``[k, b, 1, ...]`` or ``[k, b, ...]``."""
Term = Callable[..., Tensor]
"""``term(gradient, *samples, *draws) -> [k, b, ...]``: what is summed, the gradient itself if not given."""
Draws = Sequence[np.ndarray | Callable[[range, slice], Any]]
"""Values per point: an array ``[count]``, or a function of (points, samples) that gives an array ``[k, b]``, or one
array ``[k, b, ...]`` per attributed tensor."""


def identity(x: Tensor) -> Tensor:
    """The point that is the sample itself."""
    return x


def straight_line(x: Tensor, baseline: Tensor, alpha: Tensor) -> Tensor:
    """x' + alpha (x - x')."""
    return baseline + alpha * (x - baseline)


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
    weights = np.full(count, 1 / count) if weights is None else weights
    at_x = point is identity and count == 1
    target = ctx.given_target if at_x else ctx.target
    leaf = _gradient_leaf(ctx.ops, ctx.place, point, term, target, moments)
    key = ("gradients", ctx.place, point, term, target.key, moments)
    blocks: list[tuple[Any, ...]] = []
    for sums in _over_blocks(
        ctx, leaf, key, samples, draws, count, np.ones(count) if moments else weights, target, True
    ):
        blocks.append(sums)
    if at_x:
        ctx.settle(
            _joined(ctx.ops, [score for _, score, _ in blocks])[0],
            _settled(ctx, target, [chosen for _, _, chosen in blocks]),
        )
    parts = [part for part, _, _ in blocks]
    leaves = range(len(ctx.x))
    if moments:
        merged = tuple(
            Moments(
                parts[0][i].count,
                _concat(ctx.ops, [p[i].mean for p in parts]),
                _concat(ctx.ops, [p[i].deviations for p in parts]),
            )
            for i in leaves
        )
        return GradientSum(tuple(m.mean for m in merged), merged)
    return GradientSum(tuple(_concat(ctx.ops, [p[i].total for p in parts]) for i in leaves))


def scores_over_variants(ctx: Context, point: Point, *, samples: Sequence[Leaves], draws: Draws, count: int) -> Tensor:
    """Scores ``[count, B]`` of variants of each sample, without a graph."""
    return _variants(ctx, point, samples, draws, count, ctx.target)[0]


def score_and_target(ctx: Context) -> tuple[Tensor, Target]:
    """Scores ``[B]`` at ``x``, and the target with the predicted class filled in where it was asked for."""
    scores, chosen = _variants(ctx, identity, (ctx.x,), (), 1, ctx.given_target)
    return scores[0], _settled(ctx, ctx.given_target, chosen)


def activations(ctx: Context, inputs: Leaves, layer: str) -> Tensor:
    """A layer's output ``[B, ...]``, in chunks."""
    structure = ctx.place.structure

    def leaf(run: Run, inputs: Leaves) -> Tensor:
        return run(structure.unflatten(inputs), taps=[layer])[1][layer]

    compiled = ctx.model.compile(leaf, ("activations", structure, layer))
    found = []
    for tile in tiles(
        ctx.ops.shape(inputs[0])[0], 1, ctx.rows(gradient=False), stretch=False, pad=ctx.ops.static_shapes
    ):
        rows = _block(ctx.ops, inputs, tile)
        values = ctx.ops.evaluate(compiled, rows)
        if not ctx.ops.is_tensor(values):
            raise LayerError(
                f"layer {layer!r}",
                received=f"an output of type {type(values).__name__}",
                valid="a layer whose output is a tensor, or a tuple that starts with one",
            )
        found.append(values[: tile.samples])
        ctx.work.forward_rows += tile.shape[1]
    return _concat(ctx.ops, found)


# -- leaves ------------------------------------------------------------------------------------------------
def _gradient_leaf(
    ops: Ops, place: Place, point: Point, term: Term | None, target: Target, moments: bool
) -> Callable[..., Any]:
    fn = target.fn

    def leaf(run: Run, inputs: Any, samples: Any, draws: Any, weights: Tensor, index: Tensor | None) -> Any:
        values, fixed, rows_index = _points(ops, point, inputs, samples, draws, weights, index)
        flat = [rearrange(p, "k b ... -> (k b) ...") for p in values]
        rows = ops.shape(flat[0])[0]
        output, pullback = ops.vjp(lambda *points: place.output(ops, run, fixed, points), *flat)
        chosen: Tensor | None = None
        if fn is None and index is None:
            _, chosen = select_score(ops, output, rows, None, None)
        aim = rows_index if chosen is None else chosen
        score, pull_score = ops.vjp(lambda out: select_score(ops, out, rows, fn, aim)[0], output)
        gradients = pullback(*pull_score(ops.ones_like(score)))
        reduced = []
        k = ops.shape(weights)[0]
        for i, g in enumerate(gradients):
            g = rearrange(g, "(k b) ... -> k b ...", k=k)
            if term is not None:
                g = term(g, *_leaf_values(ops, samples, draws, i, ops.shape(g)))
            g = ops.astype(g, sum_dtype(ops.dtype(g)))
            w = ops.astype(_expand(ops, weights, ops.shape(g)), ops.dtype(g))
            if moments:
                mean = ops.sum(w * g, axis=0) / ops.sum(w, axis=0)
                reduced.append((mean, ops.sum(w * (g - mean) ** 2, axis=0)))
            else:
                reduced.append(ops.sum(w * g, axis=0))
        return tuple(reduced), rearrange(score, "(k b) -> k b", k=k), chosen, ops.shape(output)

    return leaf


def _variant_leaf(ops: Ops, place: Place, point: Point, target: Target) -> Callable[..., Any]:
    fn = target.fn

    def leaf(run: Run, inputs: Any, samples: Any, draws: Any, weights: Tensor, index: Tensor | None) -> Any:
        values, fixed, rows_index = _points(ops, point, inputs, samples, draws, weights, index)
        flat = [rearrange(p, "k b ... -> (k b) ...") for p in values]
        output = place.output(ops, run, fixed, flat)
        score, chosen = select_score(ops, output, ops.shape(flat[0])[0], fn, rows_index)
        return (), rearrange(score, "(k b) -> k b", k=ops.shape(weights)[0]), chosen, ops.shape(output)

    return leaf


def _points(
    ops: Ops, point: Point, inputs: Any, samples: Any, draws: Any, weights: Tensor, index: Tensor | None
) -> tuple[list[Tensor], tuple[Tensor | None, ...], Tensor | None]:
    """The points ``[k, b, ...]`` of each attributed tensor; held inputs and target indices repeated to as many rows."""
    k = ops.shape(weights)[0]
    points = []
    for i, x in enumerate(samples[0]):
        shape = (k, *ops.shape(x))
        points.append(ops.broadcast_to(point(*_leaf_values(ops, samples, draws, i, shape)), shape))
    fixed = tuple(None if x is None else repeat(x, "b ... -> (k b) ...", k=k) for x in inputs)
    return points, fixed, None if index is None else repeat(index, "b n -> (k b) n", k=k)


def _leaf_values(ops: Ops, samples: Any, draws: Any, i: int, shape: Sequence[int]) -> list[Tensor]:
    per_draw = [d[i] if isinstance(d, tuple) else d for d in draws]
    return [s[i][None] for s in samples] + [
        ops.astype(_expand(ops, d, shape), ops.dtype(samples[0][i])) for d in per_draw
    ]


def _expand(ops: Ops, x: Tensor, shape: Sequence[int]) -> Tensor:
    """Append axes of length one until ``x`` has as many as ``shape``."""
    missing = len(shape) - len(ops.shape(x))
    return x[(..., *(None,) * missing)] if missing else x


# -- the loop over tiles -------------------------------------------------------------------------------------
def _variants(
    ctx: Context, point: Point, samples: Sequence[Leaves], draws: Draws, count: int, target: Target
) -> tuple[Tensor, list[Tensor | None]]:
    leaf = _variant_leaf(ctx.ops, ctx.place, point, target)
    key = ("variants", ctx.place, point, target.key)
    blocks = list(_over_blocks(ctx, leaf, key, samples, draws, count, np.ones(count), target, False))
    return _joined(ctx.ops, [score for _, score, _ in blocks]), [chosen for _, _, chosen in blocks]


def _over_blocks(
    ctx: Context, leaf: Callable[..., Any], key: Any, samples: Sequence[Leaves], draws: Draws, count: int,
    weights: np.ndarray, target: Target, gradient: bool,
) -> Iterator[tuple[list[Any], Tensor, Tensor | None]]:  # fmt: skip
    """Run the leaf over all tiles; yields per block of samples (sums, scores [count, b], chosen index [b, 1])."""
    compiled = ctx.model.compile(leaf, key)
    call = compiled if gradient else lambda *args: ctx.ops.evaluate(compiled, *args)
    first = 0
    ctx.work.expect(ctx.batch * count)
    while first < ctx.batch:
        rows, pad = ctx.rows(gradient=gradient), ctx.ops.static_shapes
        plan = tiles(ctx.batch, count, rows, stretch=not ctx.work.fixed_rows, pad=pad, first=first)
        block = list(takewhile(partial(_same_samples, first), plan))
        try:
            found = _run_block(ctx, call, block, samples, draws, weights, target, gradient)
        except Exception as error:
            if ctx.work.fixed_rows or rows == 1 or not ctx.ops.is_out_of_memory(error):
                raise
            ctx.work.rows = min(rows, block[0].shape[0] * block[0].shape[1]) // 2
            continue
        yield found
        first += block[0].samples


def _same_samples(first: int, tile: Tile) -> bool:
    return tile.first == first


def _run_block(
    ctx: Context, call: Callable[..., Any], block: Sequence[Tile], samples: Sequence[Leaves], draws: Draws,
    weights: np.ndarray, target: Target, gradient: bool,
) -> tuple[list[Any], Tensor, Tensor | None]:  # fmt: skip
    ops = ctx.ops
    state: list[Any] | None = None
    scores, chosen = [], None
    fixed = _block(ops, ctx.place.fixed(ctx.inputs), block[0])
    rows = [_block(ops, leaves, block[0]) for leaves in samples]
    index = None if target.index is None else ops.asarray(_padded(target.index, block[0]), like=ctx.inputs[0])
    for tile in block:
        points, mask = range(tile.start, tile.start + tile.points), np.zeros(tile.shape[0])
        mask[: tile.points] = weights[tile.start : tile.start + tile.points]
        arguments = (fixed, rows, tuple(_tile_draw(ctx, d, points, tile) for d in draws), ctx.like(mask), index)
        reduced, score, chosen, shape = call(*arguments)
        if tile.start == 0:
            served = slice(tile.first, tile.first + tile.samples)
            if target.index is not None:
                replace(target, index=target.index[served]).check([int(n) for n in shape], ctx.sample_ids[served])
            _warn_if_mixing(ctx, call, arguments, score)
        state = _merge(state, reduced, tile.points)
        scores.append(score[: tile.points, : tile.samples])
        ctx.work.forward_rows += tile.shape[0] * tile.shape[1]
        ctx.work.backward_rows += tile.shape[0] * tile.shape[1] * gradient
        ctx.work.advance(tile.points * tile.samples)
    sums = [_cut(part, block[0].samples) for part in state or ()]
    return sums, _concat(ops, scores), None if chosen is None else chosen[: block[0].samples]


def _merge(state: list[Any] | None, reduced: Sequence[Any], points: int) -> list[Any]:
    """Add one tile's sums, or merge its moments, into what came before."""
    if reduced and isinstance(reduced[0], (tuple, list)):
        new = [Moments(points, mean, deviations) for mean, deviations in reduced]
        return new if state is None else [a.merge(b) for a, b in zip(state, new, strict=True)]
    if state is None:
        return [Sum(total) for total in reduced]
    return [a.add(b) for a, b in zip(state, reduced, strict=True)]


def _cut(part: Sum | Moments, samples: int) -> Sum | Moments:
    if isinstance(part, Moments):
        return Moments(part.count, part.mean[:samples], part.deviations[:samples])
    return Sum(part.total[:samples])


def _tile_draw(ctx: Context, values: Any, points: range, tile: Tile) -> Any:
    """The draws of one tile as native tensors, padded to its shape by repeating the last."""
    samples = slice(tile.first, tile.first + tile.samples)
    host = values[points.start : points.stop] if isinstance(values, np.ndarray) else values(points, samples)

    def native(array: np.ndarray, leaf: int) -> Tensor:
        missing = [(0, full - have) for full, have in zip(tile.shape, array.shape, strict=False)]
        if any(after for _, after in missing):
            array = np.pad(array, missing + [(0, 0)] * (array.ndim - len(missing)), mode="edge")
        return ctx.like(array, leaf)

    return tuple(native(a, i) for i, a in enumerate(host)) if isinstance(host, tuple) else native(host, 0)


def _block(ops: Ops, leaves: Sequence[Tensor | None], tile: Tile) -> tuple[Tensor | None, ...]:
    """The samples of one tile, padded to its shape by repeating the last."""
    stop, missing = tile.first + tile.samples, tile.shape[1] - tile.samples

    def cut(x: Tensor) -> Tensor:
        if tile.first == 0 and stop == ops.shape(x)[0] and not missing:
            return x
        rows = x[tile.first : stop]
        return ops.concat([rows, *[x[stop - 1 : stop]] * missing]) if missing else rows

    return tuple(None if x is None else cut(x) for x in leaves)


def _padded(index: np.ndarray, tile: Tile) -> np.ndarray:
    rows = index[tile.first : tile.first + tile.samples]
    return np.pad(rows, ((0, tile.shape[1] - len(rows)), (0, 0)), mode="edge")


def _warn_if_mixing(ctx: Context, call: Callable[..., Any], arguments: tuple[Any, ...], score: Tensor) -> None:
    """Does the first row's score change when the other rows are replaced by it? Asked once per model."""
    k, b = ctx.ops.shape(score)
    if k * b == 1:
        return
    verdict = ctx.model.store.get((ctx.model.key, "mixing"), lambda: _mixing(ctx, call, arguments, score))
    if verdict:
        warnings.warn(verdict, BatchMixingWarning, stacklevel=2)


def _mixing(ctx: Context, call: Callable[..., Any], arguments: tuple[Any, ...], score: Tensor) -> str:
    """The warning for a model that mixes the samples of a batch; empty if it does not."""
    ops, (k, b) = ctx.ops, ctx.ops.shape(score)
    if not ops.static_shapes:
        # two rows are enough where a new shape costs nothing
        k, b = (1, 2) if b > 1 else (2, 1)
        arguments = _map_rows(arguments, lambda x: x[:b], lambda x: x[:k, :b], lambda x: x[:k])
        score = call(*arguments)[1]
    copies = _map_rows(
        arguments,
        lambda x: ops.broadcast_to(x[:1], ops.shape(x)),
        lambda x: ops.broadcast_to(x[:1, :1], ops.shape(x)),
        lambda x: ops.broadcast_to(x[:1], ops.shape(x)),
    )
    alone = call(*copies)[1]
    ctx.work.forward_rows += k * b * (1 if ops.static_shapes else 2)
    together, apart = (float(ops.to_numpy(s).reshape(-1)[0]) for s in (score, alone))
    scale = float(np.abs(np.asarray(ops.to_numpy(score), np.float64)).max())
    if abs(together - apart) <= (5e-2 if ops.dtype(score) in HALF else 1e-3) * scale:
        return ""
    return (
        "The model's output for one sample depends on the other samples of the batch: its score was "
        f"{together:.6g} among others and {apart:.6g} among copies of itself. Attributions then depend on the batch "
        "as well; use batch_size=1, or a model without statistics over the batch."
    )


def _map_rows(
    arguments: tuple[Any, ...], per_sample: Callable[[Tensor], Tensor], per_row: Callable[[Tensor], Tensor],
    per_point: Callable[[Tensor], Tensor],
) -> tuple[Any, ...]:  # fmt: skip
    """The leaf's arguments with the samples, the draws ``[k, b, ...]`` and the draws ``[k]`` replaced."""
    fixed, rows, draws, weights, index = arguments

    def sample(x: Tensor | None) -> Tensor | None:
        return None if x is None else per_sample(x)

    def draw(x: Any) -> Any:
        return tuple(map(draw, x)) if isinstance(x, tuple) else (per_row(x) if len(x.shape) > 1 else per_point(x))

    return (
        tuple(map(sample, fixed)),
        [tuple(map(sample, leaves)) for leaves in rows],
        tuple(map(draw, draws)),
        per_point(weights),
        sample(index),
    )


def _settled(ctx: Context, target: Target, chosen: Sequence[Tensor | None]) -> Target:
    if target.key != "predicted":
        return target
    return Target(index=np.concatenate([ctx.ops.to_numpy(c) for c in chosen]).astype(np.int64))


def _concat(ops: Ops, parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else ops.concat(parts)


def _joined(ops: Ops, scores: Sequence[Tensor]) -> Tensor:
    """Scores ``[count, B]`` from those of blocks of samples."""
    return scores[0] if len(scores) == 1 else ops.concat(scores, axis=1)
