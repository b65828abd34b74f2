"""The loop over tiles: runs a leaf chunk by chunk and adds up; chunks get smaller when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.core.accumulate import Moments, Sum
from whence.core.batching import Tile, tiles
from whence.core.errors import ShapeError
from whence.core.mixing import warn_if_mixing
from whence.core.ops import Ops, Tensor
from whence.core.target import Target

if TYPE_CHECKING:
    from whence.core.context import Context, Leaves

Draws = Sequence[np.ndarray | Callable[[range, slice], Any]]
"""Values per point: an array ``[count]``, or a function of (points, samples) that gives an array ``[k, b]``, or one
array ``[k, b, ...]`` per attributed tensor, NumPy's or native. ``[k, 1, ...]`` is the same for all samples."""
Merge = Callable[[list[Any] | None, Sequence[Any], int], list[Any]]
"""``merge(before, of_tile, points)``: running sums with one more tile; ``before`` is None at the first."""


def over_blocks(
    ctx: Context, leaf: Callable[..., Any], key: Any, samples: Sequence[Leaves], draws: Draws, count: int,
    weights: np.ndarray, target: Target, gradient: bool, merge: Merge | None = None,
    kept: Callable[[Tensor], Any] | None = None,
) -> Iterator[tuple[list[Any], Any, Tensor | None]]:  # fmt: skip
    """Run the leaf over all tiles; yields per block of samples (sums, scores [count, b], chosen index [b, 1]).

    Scores of targets explained together are ``[count, b, targets]``.

    ``merge`` says how what the leaf gives for one tile joins what came before; sums are added, moments merged.
    ``kept`` is what to keep of a tile's scores, such as their values on the host.
    """
    compiled = ctx.model.compile(leaf, key)
    call = compiled if gradient else lambda *args: ctx.ops.evaluate(compiled, *args)
    first = 0
    ctx.work.expect(ctx.batch * count)
    while first < ctx.batch:
        rows, pad = ctx.rows(gradient=gradient), ctx.ops.static_shapes
        plan = tiles(ctx.batch, count, rows, stretch=not ctx.work.fixed_rows, pad=pad, first=first)
        block = list(takewhile(partial(_same_samples, first), plan))
        try:
            found = _run_block(ctx, call, block, samples, draws, weights, target, gradient, merge or _merge, kept)
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
    weights: np.ndarray, target: Target, gradient: bool, merge: Merge, kept: Callable[[Tensor], Any] | None,
) -> tuple[list[Any], Any, Tensor | None]:  # fmt: skip
    ops = ctx.ops
    state: list[Any] | None = None
    scores, chosen, first_shape = [], None, None
    fixed = block_of(ops, ctx.place.fixed(ctx.inputs), block[0])
    rows = [block_of(ops, leaves, block[0]) for leaves in samples]
    index = _native_index(ctx, target, block[0])
    for tile in block:
        points, mask = range(tile.start, tile.start + tile.points), np.zeros(tile.shape[0])
        mask[: tile.points] = weights[tile.start : tile.start + tile.points]
        arguments = (fixed, rows, tuple(_tile_draw(ctx, d, points, tile) for d in draws), ctx.argument(mask), index)
        reduced, score, chosen, shape = call(*arguments)
        if not ops.static_shapes:  # elsewhere the compiled model cannot change it
            _require_same_outputs(shape, first_shape)
            first_shape = shape
        if tile.start == 0:
            served = slice(tile.first, tile.first + tile.samples)
            served_target = target if tile.samples == ctx.batch else target.taken(served)
            served_target.check([int(np.asarray(n)) for n in shape], ctx.positions[served])
            warn_if_mixing(ctx, call, arguments, score)
        state = merge(state, reduced, tile.points)
        padded = (tile.points, tile.samples) != tile.shape
        score = score if kept is None else kept(score)
        scores.append(score[: tile.points, : tile.samples] if padded else score)
        ctx.work.forward_rows += tile.shape[0] * tile.shape[1]
        ctx.work.backward_rows += tile.shape[0] * tile.shape[1] * gradient
        ctx.work.advance(tile.points * tile.samples)
    sums, own = list(state or ()), block[0].samples
    if own < block[0].shape[1]:
        sums = [part.first(own) for part in sums]
        chosen = None if chosen is None else chosen[:own]
    return sums, concat(ops, scores), chosen


def _require_same_outputs(shape: Sequence[int], first: Sequence[int] | None) -> None:
    """Raise ShapeError where a model's outputs change their shape between calls."""
    if first is not None and tuple(shape[1:]) != tuple(first[1:]):
        raise ShapeError(
            "outputs of one shape",
            received=f"{tuple(first[1:])} per sample in one call, {tuple(shape[1:])} in the next",
            valid="a model whose output has the same shape for every batch",
        )


def _merge(state: list[Any] | None, reduced: Sequence[Any], points: int) -> list[Any]:
    """Add one tile's sums, or merge its moments, into what came before."""
    if reduced and isinstance(reduced[0], (tuple, list)):
        new = [Moments(points, mean, deviations) for mean, deviations in reduced]
        return new if state is None else [a.merge(b) for a, b in zip(state, new, strict=True)]
    if state is None:
        return [Sum(total) for total in reduced]
    return [a.add(b) for a, b in zip(state, reduced, strict=True)]


def _tile_draw(ctx: Context, values: Any, points: range, tile: Tile) -> Any:
    """The draws of one tile as native tensors, filled up to its shape."""
    samples = slice(tile.first, tile.first + tile.samples)
    host = values[points.start : points.stop] if isinstance(values, np.ndarray) else values(points, samples)

    def native(array: Any, leaf: int) -> Tensor:
        full = _stretched(ctx.ops, array, tile.shape)
        return ctx.argument(full, leaf) if isinstance(full, np.ndarray) else full

    return tuple(native(a, i) for i, a in enumerate(host)) if isinstance(host, tuple) else native(host, 0)


def _stretched(ops: Ops, x: Any, shape: tuple[int, int]) -> Any:
    """Draws ``[k]`` or ``[k, b, ...]`` with the last repeated up to ``shape``; ``[k, 1, ...]`` is for all samples."""
    for axis, (have, full) in enumerate(zip(ops.shape(x), shape, strict=False)):
        if have < full and not (axis == 1 and have == 1):
            last = x[-1:] if axis == 0 else x[:, -1:]
            x = concat(ops, [x, *[last] * (full - have)], axis=axis)
    return x


def block_of(ops: Ops, leaves: Sequence[Tensor | None], tile: Tile) -> tuple[Tensor | None, ...]:
    """The samples of one tile, padded to its shape by repeating the last; a single row is the same for all."""
    stop, missing = tile.first + tile.samples, tile.shape[1] - tile.samples

    def cut(x: Tensor) -> Tensor:
        whole = ops.shape(x)[0]
        if whole == 1 or (tile.first == 0 and stop == whole and not missing):
            return x
        rows = x[tile.first : stop]
        return ops.concat([rows, *[x[stop - 1 : stop]] * missing]) if missing else rows

    return tuple(None if x is None else cut(x) for x in leaves)


def _native_index(ctx: Context, target: Target, tile: Tile) -> Any:
    """What the leaf is told of the tile's targets: one tensor, or one for each of the targets explained together."""
    if target.together:
        return tuple(_native_index(ctx, one, tile) for one in target.together)
    return None if target.index is None else ctx.argument(_padded(target.index, tile))


def _padded(index: np.ndarray, tile: Tile) -> np.ndarray:
    rows = index[tile.first : tile.first + tile.samples]
    missing = tile.shape[1] - len(rows)
    return np.concatenate([rows, *[rows[-1:]] * missing]) if missing else rows


def concat(ops: Ops, parts: Sequence[Tensor], *, axis: int = 0) -> Tensor:
    """Parts along an axis, on the host where they are there; a single one as it is."""
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts, axis) if isinstance(parts[0], np.ndarray) else ops.concat(parts, axis=axis)
