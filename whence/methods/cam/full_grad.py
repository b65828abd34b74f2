"""FullGrad: the score of a piecewise linear network as input times gradient plus bias times gradient of every layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from whence.core.affine import affine_layers, outputs_at_zero
from whence.core.context import Context
from whence.core.errors import ParameterError
from whence.core.inside import layer_gradients
from whence.core.method import Attribution
from whence.core.ops import Ops, Tensor
from whence.core.tree import SINGLE
from whence.methods.cam.channels import image_of
from whence.methods.cam.maps import MapMethod, image_size, normalized


@dataclass(frozen=True, kw_only=True, repr=False)
class FullGrad(MapMethod):
    """The map psi(x ds/dx) plus psi(b ds/dz) of all layers z = J a + b, summed over channels; psi takes absolutes.

    Biases are read off the layers themselves, as what each gives for an input of zeros, so that batch normalisation
    has its own. ``rescale`` scales each part's map to 0..1 before it is upsampled, as the paper does for pictures;
    without it parts stay in units of score. ``provenance.notes["gap"]`` is the score minus the sum of all signed parts:
    zero for networks of linear layers, ReLU and max-pooling whose layers can be reached by name.
    Source: Srinivas and Fleuret 2019, arXiv 1905.00780.
    """

    name: ClassVar[str] = "full_grad"

    rescale: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.upsample == "none":
            raise ParameterError("upsample", received="'none'", valid='"nearest" or "bilinear": layers differ in size')

    def compute(self, ctx: Context) -> Attribution:
        ops, image = ctx.ops, image_of(ctx)
        layers = (
            affine_layers(ctx) if self.layer is None else (self.layer,) if isinstance(self.layer, str) else self.layer
        )
        points = [ctx.model.before_activation(layer) for layer in layers]
        found = layer_gradients(ctx, points, with_inputs=True)
        biases = outputs_at_zero(ctx, layers)
        from_inputs = [x * g for x, g in zip(ctx.x, found.inputs, strict=True)]
        from_biases = [b * g for b, g in zip(biases, found.gradients, strict=True)]
        parts = [
            self._part(ctx, p) for p in (from_inputs[image], *from_biases) if ctx.model.layout(_rank(ops, p)).spatial
        ]
        explained = sum((_total(ops, p) for p in from_biases), start=sum(_total(ops, p) for p in from_inputs))
        gap = ops.to_numpy(ctx.score - explained)
        joined = normalized(ops, sum(parts[1:], start=parts[0]), self.normalize)
        return Attribution((joined,), structure=SINGLE, notes={"layers": layers, "gap": gap})

    def _part(self, ctx: Context, part: Tensor) -> Tensor:
        """psi: absolute values, summed over channels, at the size of the image."""
        ops, layout = ctx.ops, ctx.model.layout(_rank(ctx.ops, part))
        size = image_size(ctx) if self.size is None else self.size
        found = ops.abs(part)
        if self.rescale:
            found = normalized(ops, found, "min_max")
        axes = tuple(axis - (layout.channel == 1) for axis in layout.spatial)
        return ops.resize(ops.sum(found, axis=layout.channel), size, axes=axes, method=self.upsample)


def _rank(ops: Ops, x: Tensor) -> int:
    return len(ops.shape(x))


def _total(ops: Ops, x: Tensor) -> Tensor:
    """Sums ``[B]`` of ``[B, ...]``."""
    return ops.sum(x, axis=tuple(range(1, _rank(ops, x))))
