"""Maps weighted by scores: what the model says when it is shown a channel's map only, or when the channel is gone.

ScoreCAM (Wang et al. 2020, arXiv 1910.01279), with the top channels only as Faster-ScoreCAM has it.
AblationCAM (Desai and Ramaswamy 2020, WACV).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from einops import rearrange

from whence.core import baselines
from whence.core.context import Context
from whence.core.engine import scores_over_variants, straight_line
from whence.core.errors import LayerError
from whence.core.inside import layer_activations
from whence.core.ops import Ops, Tensor
from whence.core.prefix import takes_one_prefix, with_one_prefix
from whence.core.validation import one_of, positive_int
from whence.methods.cam.maps import ActivationMap, divided, spatial_axes

WEIGHTS = ("softmax", "increase", "score")


@dataclass(frozen=True)
class Masked:
    """The input where a channel's map, upsampled and scaled to 0..1, lets it through, the baseline elsewhere."""

    ops: Ops
    size: tuple[int, ...]
    axes: tuple[int, ...]
    """Spatial axes of the image, counted from its batch axis."""

    def __call__(self, x: Tensor, baseline: Tensor, channel: Tensor) -> Tensor:
        # points and samples stand before: [k, b, ...]
        axes = tuple(axis + 1 for axis in self.axes)
        mask = self.ops.resize(channel, self.size, axes=axes, method="bilinear")
        mask = mask - self.ops.min(mask, axis=axes, keepdims=True)
        return straight_line(x, baseline, divided(self.ops, mask, self.ops.max(mask, axis=axes, keepdims=True)))


@dataclass(frozen=True, kw_only=True, repr=False)
class ScoreCAM(ActivationMap):
    """Channels weighted by the score of the input masked with the channel's own map; no gradient is taken.

    ``weights``: ``"softmax"`` of these scores over the channels, as in the paper; their ``"increase"`` over the score
    of the baseline; or the ``"score"`` itself. ``channels``: only so many channels, those whose maps vary most; all if
    None. ``baseline``: what the masked input fades to. One forward pass per sample and channel.
    Source: Wang et al. 2020, arXiv 1910.01279.
    """

    name: ClassVar[str] = "score_cam"
    needs_gradient: ClassVar[bool] = False

    channels: int | None = None
    weights: str = "softmax"
    baseline: Any = "zeros"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("weights", self.weights, WEIGHTS)
        if self.channels is not None:
            positive_int("channels", self.channels)

    def raw_maps(self, ctx: Context, layers: Sequence[str]) -> Sequence[Tensor]:
        found = placed_activations(self, ctx, layers)
        at_image = ctx.at_input(image_of(ctx))
        baseline = baselines.at_place(at_image, self.baseline)
        return [self._map(at_image, a, baseline) for a in found]

    def _map(self, ctx: Context, a: Tensor, baseline: Any) -> Tensor:
        ops, layout = ctx.ops, ctx.layout()
        chosen = most_varied(ops, a, self.channels)
        size = tuple(ops.shape(ctx.x[0])[axis] for axis in layout.spatial)
        masks = rearrange(chosen, "b ... k -> k b 1 ..." if layout.channel == 1 else "b ... k -> k b ... 1")

        def maps(points: range, samples: slice) -> tuple[Tensor, ...]:
            some = masks[points.start : points.stop]
            return (some if samples == slice(0, ctx.batch) else some[:, samples],)

        count = ops.shape(masks)[0]
        scores = scores_over_variants(ctx, Masked(ops, size, layout.spatial), samples=(ctx.x, baseline), draws=(maps,),
                                      count=count)  # fmt: skip
        if self.weights == "softmax":
            shares = ops.exp(scores - ops.max(scores, axis=0, keepdims=True))
            weights = shares / ops.sum(shares, axis=0, keepdims=True)
        else:
            weights = scores - ctx.score_of(baseline) if self.weights == "increase" else scores
        return weighted(ops, weights, chosen)


def ablated(a: Tensor, keep: Tensor) -> Tensor:
    """The activation without one channel."""
    return a * keep


@dataclass(frozen=True, kw_only=True, repr=False)
class AblationCAM(ActivationMap):
    """Channels weighted by the share of the score that is lost without them: (s - s[k]) / |s|; no gradient is taken.

    s[k] is the score with channel k of the layer at zero. The paper divides by s, which turns the map over where the
    score is negative. Of tokens, a channel goes in all of them. ``channels``: only so many channels, those whose maps
    vary most; all if None. One pass through the rest of the network per sample and channel.
    Source: Desai and Ramaswamy 2020, Ablation-CAM, WACV, 10.1109/WACV45572.2020.9093360.
    """

    name: ClassVar[str] = "ablation_cam"
    needs_gradient: ClassVar[bool] = False

    channels: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels is not None:
            positive_int("channels", self.channels)

    def raw_maps(self, ctx: Context, layers: Sequence[str]) -> Sequence[Tensor]:
        found = layer_activations(ctx, layers)
        return [self._map(ctx, layer, activation) for layer, activation in zip(layers, found, strict=True)]

    def _map(self, ctx: Context, layer: str, activation: Tensor) -> Tensor:
        ops, score = ctx.ops, ctx.score
        a = self.places(ctx, activation, layer)
        kept = most_varied_positions(ops, a, self.channels)
        at_layer = replace(ctx.at_layer(layer, activation), given_target=ctx.target)
        scores = scores_without(at_layer, kept, self._channel_axis(ctx, activation))
        drops = divided(ops, score - scores, ops.abs(score) + ops.zeros_like(scores))
        return weighted(ops, drops, chosen_channels(ops, a, kept))

    def _channel_axis(self, ctx: Context, x: Tensor) -> int:
        rank = len(ctx.ops.shape(x))
        return rank - 1 if self.tokens is not None else ctx.model.layout(rank).channel or rank - 1


def scores_without(at_layer: Context, positions: np.ndarray, axis: int) -> Tensor:
    """Scores ``[n, B]`` without channel ``positions[B, n]`` of the layer.

    A framework that compiles drops the network before the layer by itself. Elsewhere it is run on one row per chunk.
    """
    if not at_layer.ops.static_shapes and takes_one_prefix(at_layer):
        alone = [with_one_prefix(at_layer, i) for i in range(at_layer.batch)]
        scores = [_scores_without(one, positions[i : i + 1], axis) for i, one in enumerate(alone)]
        return at_layer.ops.concat(scores, axis=1)
    return _scores_without(at_layer, positions, axis)


def _scores_without(at_layer: Context, positions: np.ndarray, axis: int) -> Tensor:
    shape = at_layer.ops.shape(at_layer.x[0])

    def keep(points: range, samples: slice) -> tuple[np.ndarray, ...]:
        gone = positions[samples, points.start : points.stop].T
        masks = np.not_equal(gone[..., None], np.arange(shape[axis])).astype(np.float32)
        return (masks.reshape(*gone.shape, *(shape[axis] if i == axis else 1 for i in range(1, len(shape)))),)

    return scores_over_variants(at_layer, ablated, samples=(at_layer.x,), draws=(keep,), count=positions.shape[1])


# -- channels ------------------------------------------------------------------------------------------------
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
