"""A layer's channels: which of them are taken, and the map that their weights make."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from einops import rearrange

from whence.core.context import Context
from whence.core.errors import LayerError
from whence.core.inside import layer_activations
from whence.core.ops import Ops, Tensor
from whence.methods.cam.maps import ActivationMap, spatial_axes


def placed_activations(method: ActivationMap, ctx: Context, layers: Sequence[str]) -> list[Tensor]:
    """The layers' activations ``[B, *spatial, K]``, from one forward pass."""
    found = layer_activations(ctx, layers)
    return [method.places(ctx, a, layer) for a, layer in zip(found, layers, strict=True)]


def most_varied_positions(ops: Ops, a: Tensor, count: int | None) -> np.ndarray:
    """Positions ``[B, n]`` of the channels with the largest variance over places; all, in order, if count is None."""
    axes, (batch, *_, channels) = spatial_axes(ops, a), ops.shape(a)
    if count is None or count >= channels:
        return np.tile(np.arange(channels), (batch, 1))
    variance = ops.mean((a - ops.mean(a, axis=axes, keepdims=True)) ** 2, axis=axes)
    return np.asarray(ops.to_numpy(ops.argsort(variance, axis=-1, descending=True)))[:, :count]


def chosen_channels(ops: Ops, a: Tensor, positions: np.ndarray) -> Tensor:
    """The channels at ``positions[B, n]``, ``[B, *spatial, n]``."""
    *places, channels = ops.shape(a)
    if positions.shape[1] == channels:
        return a
    spread = positions.reshape(len(positions), *(1,) * (len(places) - 1), -1)
    index = ops.broadcast_to(ops.asarray(spread.astype(np.int64), like=a), (*places, positions.shape[1]))
    return ops.take_along_axis(a, index, axis=-1)


def most_varied(ops: Ops, a: Tensor, count: int | None) -> Tensor:
    """The channels with the largest variance over places."""
    return chosen_channels(ops, a, most_varied_positions(ops, a, count))


def weighted(ops: Ops, weights: Tensor, a: Tensor) -> Tensor:
    """sum_k w[k] A[k] of weights ``[K, B]`` and channels ``[B, *spatial, K]``."""
    weights = rearrange(weights, "k b -> b k")
    places = len(spatial_axes(ops, a))
    return ops.sum(weights[(slice(None), *(None,) * places)] * a, axis=-1)


def image_of(ctx: Context) -> int:
    """The position of the first image among the attributed inputs."""
    for i, _ in enumerate(ctx.x):
        if ctx.layout(i).spatial:
            return i
    raise LayerError(
        "masks of an image",
        received="inputs " + (", ".join(str(ctx.ops.shape(x)) for x in ctx.x) or "of whole numbers"),
        valid="an image, its layout known (whence.wrap(model, layout=...))",
    )
