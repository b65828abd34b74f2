"""GuidedGradCAM: guided backprop at the input, times the map of Grad-CAM (Selvaraju et al. 2017, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from whence.core.context import Context
from whence.core.errors import ParameterError
from whence.core.method import Attribution, Method
from whence.core.ops import Ops, Tensor
from whence.core.validation import one_of
from whence.methods.backprop import GuidedBackprop
from whence.methods.cam.gradient import GradCAM
from whence.methods.cam.maps import UPSAMPLE


@dataclass(frozen=True, kw_only=True, repr=False)
class GuidedGradCAM(Method):
    """Guided backprop ``[B, ...]`` times the positive part of Grad-CAM's map, brought to the image's resolution.

    ``layer``: where the map is taken; None for the last layer with spatial axes. ``upsample``: ``"bilinear"`` or
    ``"nearest"``. Raises LayerError for a layer without spatial axes, CoverageError for a model without relu.

    Source: Selvaraju et al. 2017, arXiv 1610.02391, section 3.2.
    """

    name: ClassVar[str] = "guided_grad_cam"
    needs_layers: ClassVar[bool] = True
    moves_to_layer: ClassVar[bool] = False

    upsample: str = "bilinear"

    def __post_init__(self) -> None:
        one_of("upsample", self.upsample, UPSAMPLE[1:])
        if self.neuron is not None:
            raise ParameterError("neuron of guided_grad_cam", received=repr(self.neuron), valid="None")

    def compute(self, ctx: Context) -> Attribution:
        found = GradCAM(layer=self.layer, upsample=self.upsample).compute(ctx)
        guided = GuidedBackprop().compute(ctx)
        values = tuple(_times_map(ctx, i, g, found.values[0]) for i, g in enumerate(guided.values))
        return Attribution(values, notes=found.notes)


def _times_map(ctx: Context, leaf: int, gradient: Tensor, found: Tensor) -> Tensor:
    """The gradient times the map ``[B, *spatial]`` of all its channels."""
    ops: Ops = ctx.ops
    layout, shape = ctx.layout(leaf), ops.shape(gradient)
    size: Any = tuple(shape[axis] for axis in layout.spatial)
    if size != ops.shape(found)[1:]:
        raise ParameterError(
            "guided_grad_cam of several inputs",
            received=f"an input of shape [B, {str(shape[1:])[1:-1]}] beside a map of {ops.shape(found)[1:]}",
            valid="images of one size",
        )
    return gradient * (found[:, None] if layout.channel == 1 else found[..., None])
