"""CAM: the weights of a linear head after global average pooling (Zhou et al. 2016, arXiv 1512.04150)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from whence.core.context import Context
from whence.core.errors import LayerError, ParameterError, TargetError
from whence.core.inside import layer_gradients
from whence.core.ops import Tensor
from whence.methods.cam.channels import placed_activations
from whence.methods.cam.maps import ActivationMap, spatial_axes


@dataclass(frozen=True, kw_only=True, repr=False)
class CAM(ActivationMap):
    """Channels of the last feature map weighted by the class's row of the linear head: sum_k w[k] A[k].

    The head is read off the score's derivative: after global average pooling and a linear layer it is the same at every
    place, w[k] / places, and the same whatever the activation. LayerError where it is not: explain logits rather than
    probabilities, name the last feature map, or take GradCAM. ``weights[classes, K]`` tells the head's weights instead,
    for a head with something between pooling and score.

    Source: Zhou et al. 2016, arXiv 1512.04150.
    """

    name: ClassVar[str] = "cam"

    relu: bool = False
    weights: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights is not None and len(getattr(self.weights, "shape", ())) != 2:
            raise ParameterError("weights", received=repr(self.weights), valid="an array [classes, channels], or None")

    def raw_maps(self, ctx: Context, layers: Sequence[str]) -> Sequence[Tensor]:
        ops = ctx.ops
        if self.weights is not None:
            activations = placed_activations(self, ctx, layers)
            return [ops.sum(self._told(ctx, a) * a, axis=-1) for a in activations]
        at_x = self.with_gradients(ctx, layers)
        return [ops.sum(self._read(ctx, layer, g) * a, axis=-1) for layer, (a, g) in zip(layers, at_x, strict=True)]

    def _read(self, ctx: Context, layer: str, g: Tensor) -> Tensor:
        """w ``[B, 1.., K]`` from the gradient, once it is seen to be that of such a head."""
        ops, axes = ctx.ops, spatial_axes(ctx.ops, g)
        elsewhere = self.places(ctx, _gradient_at(ctx, layer, 0.5), layer)
        mean = ops.mean(g, axis=axes, keepdims=True)
        size = float(ops.to_numpy(ops.max(ops.abs(g))))
        uneven = float(ops.to_numpy(ops.max(ops.abs(g - mean)))) / size
        changed = float(ops.to_numpy(ops.max(ops.abs(elsewhere - g)))) / size
        allowed = float(np.sqrt(np.finfo(np.float64 if ops.dtype(g) == "float64" else np.float32).eps))
        if max(uneven, changed) > allowed:
            raise LayerError(
                f"the class weights of a linear head after the global average of layer {layer!r}",
                received=f"a gradient that differs by {uneven:.2g} of its size from place to place, and by "
                f"{changed:.2g} at half the activation",
                valid="a layer that is averaged and then goes through a linear layer to the logit explained; "
                "weights=... to tell them, or GradCAM, which needs no such head",
            )
        return ops.sum(g, axis=axes, keepdims=True)

    def _told(self, ctx: Context, a: Tensor) -> Tensor:
        """The rows of ``weights`` for the targets, ``[B, 1.., K]``."""
        ops, index = ctx.ops, ctx.target.classes
        weights, channels = np.asarray(self.weights), ops.shape(a)[-1]
        if index is None or index.shape[1] != 1:
            raise TargetError("weights of classes", received="a target that is no class index", valid="a class index")
        if weights.shape[1] != channels or int(index.max()) >= len(weights):
            raise ParameterError(
                "weights", received=f"shape {weights.shape}",
                valid=f"[classes, {channels}] for this layer, classes up to {int(index.max())}")  # fmt: skip
        rows = weights[index[:, 0]]
        return ops.asarray(rows.reshape(len(rows), *(1,) * len(spatial_axes(ops, a)), channels), like=a)


def _gradient_at(ctx: Context, layer: str, share: float) -> Tensor:
    """The gradient towards a layer whose activation is scaled."""
    at_layer = ctx.at_layer(layer)
    scaled = at_layer.moved(tuple(share * x for x in at_layer.x))
    return layer_gradients(scaled, (), with_inputs=True).inputs[0]
