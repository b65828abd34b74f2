"""What the family shares: layers by name or the last spatial one, maps ``[B, *spatial]``, conventions as fields."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from numbers import Integral
from typing import Any, ClassVar

from einops import rearrange

from whence.core.context import Context
from whence.core.dependence import require_dependence
from whence.core.errors import LayerError, ParameterError
from whence.core.inside import layer_gradients, layer_shapes
from whence.core.method import Attribution, Method
from whence.core.ops import Ops, Tensor
from whence.core.token_grid import TokenGrid
from whence.core.tree import SINGLE
from whence.core.validation import all_zero, one_of

UPSAMPLE = ("none", "nearest", "bilinear")
NORMALIZE = ("none", "min_max", "max")


@dataclass(frozen=True, kw_only=True, repr=False)
class MapMethod(Method):
    """Base of the methods that give a map ``[B, *spatial]``: one number per place, no axis of channels.

    ``upsample``: ``"none"`` for the layer's own resolution, ``"nearest"`` or ``"bilinear"`` (half-pixel centres, no
    antialiasing) to the input's, or to ``size``. ``normalize``: ``"none"``, ``"min_max"`` (each sample's map to 0..1),
    or ``"max"`` (divided by its largest absolute value).
    """

    needs_layers: ClassVar[bool] = True
    moves_to_layer: ClassVar[bool] = False
    view: ClassVar[str] = "map"

    upsample: str = "bilinear"
    size: tuple[int, ...] | None = None
    normalize: str = "none"

    def __post_init__(self) -> None:
        one_of("upsample", self.upsample, UPSAMPLE)
        one_of("normalize", self.normalize, NORMALIZE)
        sizes = self.size or ()
        if self.size is not None and (not sizes or any(not isinstance(n, Integral) or n < 1 for n in sizes)):
            raise ParameterError("size", received=repr(self.size), valid="a tuple of ints >= 1, or None")
        if isinstance(self.layer, tuple) and not self.layer:
            raise ParameterError("layer", received="()", valid="a name, a tuple of names, or None")


@dataclass(frozen=True, kw_only=True, repr=False)
class ActivationMap(MapMethod):
    """Base of the family: maps of a layer's activation, its channels weighted in one way or another.

    ``layer``: where the map is taken; None for the last layer with spatial axes, which
    ``provenance.notes["layers"]`` names; a tuple of names for the mean of their maps, each normalised before as the
    mean is after. ``relu``: keep the positive part of the map. ``tokens``: how a transformer's tokens stand on the
    image, see ``whence.TokenGrid``. See ``MapMethod`` for the other fields.
    """

    relu: bool = True
    tokens: TokenGrid | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tokens is not None and not isinstance(self.tokens, TokenGrid):
            raise ParameterError("tokens", received=repr(self.tokens), valid="whence.TokenGrid(...), or None")

    @abstractmethod
    def raw_maps(self, ctx: Context, layers: Sequence[str]) -> Sequence[Tensor]:
        """The formula: one map ``[B, *spatial]`` per layer."""

    def compute(self, ctx: Context) -> Attribution:
        layers = self.layers_in(ctx)
        maps = [self._finished(ctx, raw, layer) for raw, layer in zip(self.raw_maps(ctx, layers), layers, strict=True)]
        shapes = {ctx.ops.shape(m) for m in maps}
        if len(shapes) > 1:
            received = ", ".join(f"{layer} {ctx.ops.shape(m)[1:]}" for m, layer in zip(maps, layers, strict=True))
            raise ParameterError('several layers with upsample="none"', received=received,
                                 valid="maps of one resolution; upsample them to average them")  # fmt: skip
        mean = sum(maps[1:], start=maps[0]) / len(maps)
        joined = mean if len(maps) == 1 else normalized(ctx.ops, mean, self.normalize)
        return Attribution((joined,), structure=SINGLE, notes={"layers": layers, **self.notes(ctx)})

    def notes(self, ctx: Context) -> dict[str, Any]:
        """What the method adds to the provenance."""
        return {}

    def _finished(self, ctx: Context, raw: Tensor, layer: str) -> Tensor:
        """The raw map after relu, upsampling and normalisation."""
        ops = ctx.ops
        found = ops.maximum(raw, ops.zeros_like(raw)) if self.relu else raw
        if self.upsample != "none":
            size = self._size_for(ctx, ops.shape(found)[1:], layer)
            found = ops.resize(found, size, axes=range(1, len(size) + 1), method=self.upsample)
        return normalized(ops, found, self.normalize)

    def _size_for(self, ctx: Context, coarse: Sequence[int], layer: str) -> Sequence[int]:
        size = image_size(ctx) if self.size is None else self.size
        if len(size) != len(coarse):
            given = f"images of {size}" if size else "inputs that are no images"
            raise ParameterError(
                f"a map of layer {layer!r} upsampled to {'the input' if self.size is None else self.size}",
                received=f"a map of shape {tuple(coarse)} for {given}",
                valid=f'size=... with {len(coarse)} numbers, or upsample="none"',
            )
        return size

    # -- layers ------------------------------------------------------------------------------------------------
    def layers_in(self, ctx: Context) -> tuple[str, ...]:
        """The layers whose maps are taken, as named or found."""
        if self.layer is not None:
            return (self.layer,) if isinstance(self.layer, str) else self.layer
        shapes = layer_shapes(ctx)
        spatial = [name for name, shape in shapes.items() if self._is_map(ctx, shape)]
        if not spatial:
            raise LayerError(
                "the last layer with spatial axes",
                received="none among " + (", ".join(f"{n} {s}" for n, s in list(shapes.items())[-8:]) or "no layers"),
                valid="a model of images with its layout known (whence.wrap(model, layout=...)), or "
                "tokens=whence.TokenGrid() for the tokens of a transformer",
            )
        return (self._last_that_matters(ctx, spatial) if self.tokens else spatial[-1],)

    def _is_map(self, ctx: Context, shape: Sequence[int]) -> bool:
        if self.tokens is not None:
            return self.tokens.fits(shape, image_size(ctx))
        axes = ctx.model.layout(len(shape) + 1).spatial
        return bool(axes) and prod(shape[axis - 1] for axis in axes) > 1

    def _last_that_matters(self, ctx: Context, layers: Sequence[str]) -> str:
        """The last layer whose tokens on the grid the score depends on: the last of all often feeds the class token."""
        first = ctx.taken([0])
        found = layer_gradients(first, layers)
        sizes = [float(ctx.ops.to_numpy(ctx.ops.max(ctx.ops.abs(self.places(ctx, g, layer)))))
                 for g, layer in zip(found.gradients, layers, strict=True)]  # fmt: skip
        return next((layer for layer, size in zip(layers[::-1], sizes[::-1], strict=True) if size > 0), layers[-1])

    def places(self, ctx: Context, x: Tensor, layer: str) -> Tensor:
        """A layer's activation or gradient as ``[B, *spatial, K]``."""
        if self.tokens is not None:
            return self.tokens.on_grid(ctx.ops, x, layer, image_size(ctx))
        shape = ctx.ops.shape(x)
        layout = ctx.model.layout(len(shape))
        if layout.channel is None:
            raise LayerError(
                f"a map of layer {layer!r}",
                received=f"an output of shape [B, {str(shape[1:])[1:-1]}]",
                valid="a layer with spatial axes and channels, its layout known (whence.wrap(model, layout=...)); for "
                "the tokens of a transformer, tokens=whence.TokenGrid()",
            )
        return rearrange(x, "b c ... -> b ... c") if layout.channel == 1 else x

    def with_gradients(self, ctx: Context, layers: Sequence[str]) -> list[tuple[Tensor, Tensor]]:
        """Per layer its activation A and the gradient of the score towards it, ``[B, *spatial, K]``."""
        found = layer_gradients(ctx, layers)
        pairs = zip(found.activations, found.gradients, layers, strict=True)
        placed = [(self.places(ctx, a, layer), self.places(ctx, g, layer)) for a, g, layer in pairs]
        for (_, g), whole, layer in zip(placed, found.gradients, layers, strict=True):
            if not all_zero(ctx.ops, g):
                continue
            if all_zero(ctx.ops, whole):
                require_dependence(ctx, layer)
            else:
                raise LayerError(
                    f"a map of layer {layer!r}",
                    received="tokens on which the score does not depend: only other tokens reach it from there",
                    valid="a layer before the last attention, such as the last block's first normalisation",
                )
        return placed


def spatial_axes(ops: Ops, x: Tensor) -> tuple[int, ...]:
    """The axes of places in ``[B, *spatial, K]``."""
    return tuple(range(1, len(ops.shape(x)) - 1))


def image_size(ctx: Context) -> tuple[int, ...]:
    """The spatial shape of the first input that is an image; empty where none is."""
    for x in ctx.x:
        shape = ctx.ops.shape(x)
        if axes := ctx.model.layout(len(shape)).spatial:
            return tuple(shape[axis] for axis in axes)
    return ()


def normalized(ops: Ops, maps: Tensor, how: str) -> Tensor:
    """Maps ``[B, ...]``, each on a scale of its own; a flat one becomes zeros."""
    axes = tuple(range(1, len(ops.shape(maps))))
    if how == "none":
        return maps
    shifted = maps - ops.min(maps, axis=axes, keepdims=True) if how == "min_max" else maps
    return divided(ops, shifted, ops.max(ops.abs(shifted), axis=axes, keepdims=True))


def divided(ops: Ops, x: Tensor, by: Tensor) -> Tensor:
    """x / by, zero where ``by`` is."""
    absent = by == 0
    return ops.where(absent, ops.zeros_like(x), x / ops.where(absent, ops.ones_like(by), by))
