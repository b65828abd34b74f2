"""Biases of layers in any framework: what an affine layer z = J a + b gives for an input of zeros."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from whence.core.inside import layer_shapes
from whence.core.layers import IN, innermost, layer_of, split_call, with_suffix
from whence.core.model import Run
from whence.core.ops import Ops, Tensor
from whence.core.tree import Structure

if TYPE_CHECKING:
    from whence.core.context import Context, Leaves

ROUNDING = {"float64": 1e-9, "float32": 1e-3}
"""What a layer may depart from an affine one, of the size of its output; half types more."""


def affine_layers(ctx: Context) -> tuple[str, ...]:
    """Innermost layers of one input that are affine, with a bias or without, by the calls of one forward pass.

    Found once per model: z(2 a) - 2 z(a) + z(0) = 0, where a is what the layer is given for the first sample.
    """
    points = [layer + IN for layer in innermost(ctx.model.layers())]
    calls = tuple(_without_in(point) for point in layer_shapes(ctx, points))

    def find() -> tuple[str, ...]:
        compiled = ctx.model.compile(_affine_leaf(ctx, calls), ("affine", ctx.place.structure, calls))
        kinks = ctx.ops.evaluate(compiled, tuple(x[:1] for x in ctx.inputs))
        ctx.work.forward_rows += 3
        return tuple(c for c, k in zip(calls, kinks, strict=True) if float(ctx.ops.to_numpy(k)) == 0)

    affine: tuple[str, ...] = ctx.model.store.get(("affine layers", ctx.model.key, ctx.place.structure, calls), find)
    return affine


def outputs_at_zero(ctx: Context, layers: Sequence[str]) -> list[Tensor]:
    """What each of these layers gives for an input of zeros, before an activation of its own, ``[1, ...]``."""
    ops, structure, model = ctx.ops, ctx.place.structure, ctx.model

    def leaf(run: Run, inputs: Leaves) -> tuple[Tensor, ...]:
        return tuple(_given(run, structure, inputs, {layer: ops.zeros_like for layer in layers}, _outputs(ctx, layers)))

    compiled = model.compile(leaf, ("at zero", structure, tuple(layers)))
    ctx.work.forward_rows += 1
    return list(ops.evaluate(compiled, tuple(x[:1] for x in ctx.inputs)))


def _affine_leaf(ctx: Context, calls: Sequence[str]) -> Callable[[Run, Leaves], tuple[Tensor, ...]]:
    ops, structure, outputs = ctx.ops, ctx.place.structure, _outputs(ctx, calls)
    inputs_of = [with_suffix(call, IN) for call in calls]

    def leaf(run: Run, inputs: Leaves) -> tuple[Tensor, ...]:
        tapped = run(structure.unflatten(inputs), taps=[*inputs_of, *outputs])[1]
        given = dict(zip(calls, (tapped[name] for name in inputs_of), strict=True))
        real = {call for call, a in given.items() if ops.is_floating(a)}
        once = [tapped[name] for name in outputs]
        none, twice = (
            _given(run, structure, inputs, {c: _constant(share * given[c]) for c in calls if c in real}, outputs)
            for share in (0, 2)
        )
        return tuple(
            _kinked(ops, z0, z1, z2) if call in real else ops.ones_like(ops.sum(z1))
            for call, z0, z1, z2 in zip(calls, none, once, twice, strict=True)
        )

    return leaf


def _kinked(ops: Ops, z0: Tensor, z1: Tensor, z2: Tensor) -> Tensor:
    """Zero where the three lie on a line, as a number on the device."""
    size = ops.max(ops.abs(z1)) + ops.max(ops.abs(z2))
    bent = ops.max(ops.abs(z2 - 2 * z1 + z0)) > ROUNDING.get(ops.dtype(z1), 3e-2) * size
    return ops.astype(bent, "float32")


def _constant(value: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda _: value


def _given(
    run: Run, structure: Structure, inputs: Leaves, fed: dict[str, Callable[[Tensor], Tensor]], outputs: Sequence[str]
) -> list[Tensor]:
    """The outputs of layers that are fed something else."""
    edits = {with_suffix(call, IN): feed for call, feed in fed.items()}
    tapped = run(structure.unflatten(inputs), edits=edits, taps=outputs)[1]
    return [tapped[name] for name in outputs]


def _outputs(ctx: Context, calls: Sequence[str]) -> list[str]:
    return [ctx.model.before_activation(call) for call in calls]


def _without_in(point: str) -> str:
    """``"conv:1"`` of ``"conv:in:1"``."""
    name, call = split_call(point)
    return layer_of(name) if call is None else f"{layer_of(name)}:{call}"
