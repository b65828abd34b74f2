"""Activations of inner layers and gradients of the score towards them, from one pass forward and back.

The inputs stay where they are, or move along a path of points as in ``engine.grad_over_points``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from einops import rearrange

from whence.core.accumulate import Sum, sum_dtype
from whence.core.engine import (
    Point,
    identity,
    joined,
    points_of,
    require_tensor,
    score_and_cotangent,
    settled,
)
from whence.core.layers import Seen
from whence.core.model import Run
from whence.core.ops import Ops, Tensor
from whence.core.place import Place
from whence.core.schedule import Draws, concat, over_blocks
from whence.core.target import Target, select_score

if TYPE_CHECKING:
    from whence.core.context import Context, Leaves

INPUT = "input "
"""Begins the name under which an input is watched, its position follows."""


@dataclass(frozen=True)
class Inside:
    """Per layer ``[B, ...]``: the activations and the gradients of the score towards them.

    ``inputs`` are the gradients towards the floating-point inputs, where they were asked for.
    """

    activations: Leaves
    gradients: Leaves
    inputs: Leaves = ()


def layer_gradients(ctx: Context, layers: Sequence[str], *, with_inputs: bool = False) -> Inside:
    """Activations of the layers at the inputs, and gradients towards them, for one forward and one backward pass."""
    target, names = ctx.given_target, (*layers, *_inputs(ctx, with_inputs))
    leaf = _leaf(ctx.ops, ctx.place, identity, names, target, _single)
    key = ("layer gradients", ctx.place, names, target.key)
    blocks = list(over_blocks(ctx, leaf, key, (ctx.x,), (), 1, np.ones(1), target, True))
    scores = joined(ctx.ops, [score for _, score, _ in blocks])
    ctx.settle(rearrange(scores, "1 b -> b"), settled(ctx, target, [chosen for _, _, chosen in blocks]))
    found = [concat(ctx.ops, [part[i].total for part, _, _ in blocks]) for i in range(2 * len(names))]
    count = len(layers)
    return Inside(tuple(found[:count]), tuple(found[len(names) :][:count]), tuple(found[len(names) + count :]))


def layer_activations(ctx: Context, layers: Sequence[str]) -> Leaves:
    """Activations ``[B, ...]`` of the layers at the inputs, from a forward pass that gives the score as well."""
    ops, place, target = ctx.ops, ctx.place, ctx.given_target

    def leaf(run: Run, inputs: Any, samples: Any, draws: Any, weights: Tensor, index: Tensor | None) -> Any:
        (flat,), fixed, rows_index = samples, inputs, index
        found: dict[str, Tensor] = {}

        def see(layer: str, value: Tensor) -> Tensor:
            found[layer] = value
            return value

        output = output_seen(ops, place, run, fixed, flat, layers, see)
        rows = ops.shape((*flat, *(x for x in fixed if x is not None))[0])[0]
        score, chosen = select_score(ops, output, rows, target.fn, rows_index)
        return tuple(found[layer] for layer in layers), score[None], chosen, ops.shape(output)

    key = ("layer activations", place, tuple(layers), target.key)
    blocks = list(over_blocks(ctx, leaf, key, (ctx.x,), (), 1, np.ones(1), target, False))
    scores = joined(ops, [score for _, score, _ in blocks])
    ctx.settle(rearrange(scores, "1 b -> b"), settled(ctx, target, [chosen for _, _, chosen in blocks]))
    return tuple(concat(ops, [part[i].total for part, _, _ in blocks]) for i in range(len(layers)))


def layer_multipliers(ctx: Context, layers: Sequence[str], reference: Leaves) -> Inside:
    """As ``layer_gradients`` with inputs, under rules that compare with a reference, which runs beside the inputs."""
    target, names = ctx.target, (*layers, *_inputs(ctx, True))
    leaf = _leaf(ctx.ops, ctx.place, identity, names, target, _single, beside=True)
    key = ("layer multipliers", ctx.place, names, target.key)
    blocks = list(over_blocks(ctx, leaf, key, (ctx.x, reference), (), 1, np.ones(1), target, True))
    found = [concat(ctx.ops, [part[i].total for part, _, _ in blocks]) for i in range(2 * len(names))]
    count = len(layers)
    return Inside(tuple(found[:count]), tuple(found[len(names) :][:count]), tuple(found[len(names) + count :]))


def layer_gradient_over_points(
    ctx: Context, layer: str, point: Point, *, samples: Sequence[Leaves], draws: Draws, count: int, weights: np.ndarray
) -> Tensor:
    """Sum over points at the inputs of weight times the gradient towards a layer, ``[B, ...]``."""
    leaf = _leaf(ctx.ops, ctx.place, point, (layer,), ctx.target, _weighted)
    key = ("layer gradients", ctx.place, point, layer, ctx.target.key)
    blocks = list(over_blocks(ctx, leaf, key, samples, draws, count, weights, ctx.target, True))
    return concat(ctx.ops, [part[1].total for part, _, _ in blocks])


def layer_gradient_along_path(
    ctx: Context, layer: str, point: Point, *, samples: Sequence[Leaves], draws: Draws, count: int,
    ends: tuple[float, float],
) -> Tensor:  # fmt: skip
    """Sum over steps of the change of a layer's activation times the gradient towards it, ``[B, ...]``.

    The path has ``count`` points at the inputs; in a step the gradients at its two ends are weighted by ``ends``.
    """
    leaf = _leaf(ctx.ops, ctx.place, point, (layer,), ctx.target, partial(_stepwise, ends))
    key = ("layer path", ctx.place, point, layer, ctx.target.key, ends)
    merge = partial(_joined_paths, ends)
    blocks = list(over_blocks(ctx, leaf, key, samples, draws, count, np.ones(count), ctx.target, True, merge))
    return concat(ctx.ops, [part[0].total.total for part, _, _ in blocks])


def layer_shapes(ctx: Context, points: Sequence[str] | None = None) -> dict[str, tuple[int, ...]]:
    """Shapes, without the batch axis, of what the layers give, in the order of the forward pass."""
    structure, row = ctx.place.structure, tuple(x[:1] for x in ctx.inputs)
    sizes = tuple((ctx.ops.shape(x), ctx.ops.dtype(x)) for x in row)
    shapes: dict[str, tuple[int, ...]] = ctx.model.store.get(
        ("layer shapes", ctx.model.key, structure, sizes, None if points is None else tuple(points)),
        lambda: ctx.model.shapes(structure.unflatten(row), points),
    )
    return shapes


# -- leaves ------------------------------------------------------------------------------------------------
Reduce = Callable[[Ops, Sequence[Tensor], Sequence[Tensor], Tensor], tuple[Any, ...]]
"""``reduce(ops, activations, gradients, weights)``, the first two ``[k, b, ...]`` per name, the weights ``[k]``."""


def _inputs(ctx: Context, wanted: bool) -> tuple[str, ...]:
    return tuple(f"{INPUT}{i}" for i in range(len(ctx.x))) if wanted else ()


def _leaf(
    ops: Ops, place: Place, point: Point, names: Sequence[str], target: Target, reduce: Reduce, beside: bool = False
) -> Callable[..., Any]:
    fn = target.fn
    layers = [name for name in names if not name.startswith(INPUT)]

    def leaf(run: Run, inputs: Any, samples: Any, draws: Any, weights: Tensor, index: Tensor | None) -> Any:
        own = samples[:1] if beside else samples
        values, fixed, rows_index = points_of(ops, point, inputs, own, draws, weights, index)
        flat = [rearrange(p, "k b ... -> (k b) ...") for p in values]
        rows = ops.shape((flat or fixed)[0])[0]
        # the reference is that of the only point there is
        reference = list(samples[1]) if beside else None

        def forward(watch: Callable[[str, Tensor], Tensor]) -> Tensor:
            points = [watch(f"{INPUT}{i}", x) if f"{INPUT}{i}" in names else x for i, x in enumerate(flat)]
            found = output_seen(ops, place, run, fixed, points, layers, watch, reference)
            return found[0] if beside else found

        output, found, pullback = ops.vjp_inside(forward)
        score, chosen, cotangent = score_and_cotangent(ops, output, rows, fn, rows_index)
        gradients, k = pullback(cotangent), ops.shape(weights)[0]

        def by_point(x: Tensor) -> Tensor:
            return rearrange(ops.astype(x, sum_dtype(ops.dtype(x))), "(k b) ... -> k b ...", k=k)

        # a layer before the one that is put in the place of its output is never come to
        nothing = ops.zeros_like(score)
        given, towards = ([by_point(of.get(n, nothing)) for n in names] for of in (found, gradients))
        reduced = reduce(ops, given, towards, weights)
        return reduced, rearrange(score, "(k b) -> k b", k=k), chosen, ops.shape(output)

    return leaf


def output_seen(
    ops: Ops, place: Place, run: Run, fixed: Sequence[Tensor], points: Sequence[Tensor], layers: Sequence[str],
    watch: Callable[[str, Tensor], Tensor], reference: Sequence[Tensor] | None = None,
) -> Any:  # fmt: skip
    """``place.output``, what the layers give going through ``watch``; raises LayerError where that is no tensor."""
    others: dict[str, Any] = {}

    def see(layer: str, value: Any) -> Any:
        if ops.is_tensor(value):
            return watch(layer, value)
        others[layer] = value
        return value

    found = place.output(ops, run, fixed, points, {layer: Seen(partial(see, layer)) for layer in layers}, reference)
    # not from inside the model: Keras wraps what is raised there
    for layer, value in others.items():
        require_tensor(ops, layer, value)
    return found


def _weighted(
    ops: Ops, activations: Sequence[Tensor], gradients: Sequence[Tensor], weights: Tensor
) -> tuple[Tensor, ...]:
    def total(x: Tensor) -> Tensor:
        return ops.weighted_sum(ops.astype(weights, ops.dtype(x)), x)

    return (*map(total, activations), *map(total, gradients))


def _single(
    ops: Ops, activations: Sequence[Tensor], gradients: Sequence[Tensor], weights: Tensor
) -> tuple[Tensor, ...]:
    """Of the only point there is, without its weight of one."""
    return tuple(x[0] for x in (*activations, *gradients))


def _stepwise(
    ends: tuple[float, float], ops: Ops, activations: Sequence[Tensor], gradients: Sequence[Tensor], weights: Tensor
) -> tuple[Tensor, ...]:
    """The sum over the steps inside one tile, and both ends of the tile; points that fill the tile up stand still."""
    (a,), (g,) = activations, gradients
    steps = (ends[0] * g[:-1] + ends[1] * g[1:]) * (a[1:] - a[:-1])
    return ops.sum(steps, axis=0), a[0], g[0], a[-1], g[-1]


@dataclass(frozen=True)
class _Path:
    """The sum over the steps so far, and activation and gradient at the last point."""

    total: Sum
    activation: Tensor
    gradient: Tensor

    def first(self, samples: int) -> _Path:
        return _Path(self.total.first(samples), self.activation[:samples], self.gradient[:samples])


def _joined_paths(
    ends: tuple[float, float], before: list[_Path] | None, tile: Sequence[Tensor], points: int
) -> list[_Path]:
    inner, a_first, g_first, a_last, g_last = tile
    if before is None:
        return [_Path(Sum(inner), a_last, g_last)]
    (path,) = before
    between = (ends[0] * path.gradient + ends[1] * g_first) * (a_first - path.activation)
    return [_Path(path.total.add(inner + between), a_last, g_last)]
