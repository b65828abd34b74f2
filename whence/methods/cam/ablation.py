"""AblationCAM (Desai and Ramaswamy 2020, WACV): what the score loses when a channel is gone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from whence.core.context import Context
from whence.core.engine import joined, scores_over_variants
from whence.core.inside import layer_activations, layer_shapes
from whence.core.ops import Ops, Tensor
from whence.core.prefix import activation_and_scores, takes_one_prefix
from whence.core.schedule import concat
from whence.core.validation import positive_int
from whence.methods.cam.channels import chosen_channels, most_varied_positions, weighted
from whence.methods.cam.maps import ActivationMap, divided


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
        # a framework that compiles drops the network before the layer by itself
        if ctx.ops.static_shapes or not all(takes_one_prefix(ctx, layer) for layer in layers):
            return [self._map(ctx, layer, a) for layer, a in zip(layers, layer_activations(ctx, layers), strict=True)]
        found = [None for _ in layers] if self.channels is None else layer_activations(ctx, layers)
        return [self._map_by_sample(ctx, layer, a) for layer, a in zip(layers, found, strict=True)]

    def _map(self, ctx: Context, layer: str, activation: Tensor) -> Tensor:
        ops, a = ctx.ops, self.places(ctx, activation, layer)
        gone = most_varied_positions(ops, a, self.channels)
        at_layer = replace(ctx.at_layer(layer, activation), given_target=ctx.target)
        keep = self._keep(ctx, gone, ops.shape(activation))
        scores = scores_over_variants(at_layer, ablated, samples=(at_layer.x,), draws=(keep,), count=gone.shape[1])
        return self._weighted(ops, a, gone, ctx.score, scores)

    def _map_by_sample(self, ctx: Context, layer: str, activation: Tensor | None = None) -> Tensor:
        """The same with the network before the layer run on one row; the first change of all takes no channel away."""
        ops, shape = ctx.ops, (ctx.batch, *layer_shapes(ctx, [layer])[layer])
        gone = (np.tile(np.arange(shape[self._channel_axis(ctx, len(shape))]), (ctx.batch, 1)) if activation is None
                else most_varied_positions(ops, self.places(ctx, activation, layer), self.channels))  # fmt: skip
        changes = np.pad(gone, ((0, 0), (1, 0)), constant_values=-1)
        known = ctx.moved(ctx.x)
        found = [
            activation_and_scores(known.taken([i]), layer, ablated, (self._keep(ctx, changes[i : i + 1], shape),),
                                  changes.shape[1])
            for i in range(ctx.batch)
        ]  # fmt: skip
        a = self.places(ctx, concat(ops, [of_layer for of_layer, _ in found]), layer)
        scores = joined(ops, [scores for _, scores in found])
        ctx.settle(scores[0], ctx.target)
        return self._weighted(ops, a, gone, scores[0], scores[1:])

    def _keep(self, ctx: Context, gone: np.ndarray, shape: Sequence[int]) -> Kept:
        return Kept(gone, tuple(shape), self._channel_axis(ctx, len(shape)))

    def _weighted(self, ops: Ops, a: Tensor, gone: np.ndarray, score: Tensor, without: Tensor) -> Tensor:
        drops = divided(ops, score - without, ops.abs(score) + ops.zeros_like(without))
        return weighted(ops, drops, chosen_channels(ops, a, gone))

    def _channel_axis(self, ctx: Context, rank: int) -> int:
        return rank - 1 if self.tokens is not None else ctx.model.layout(rank).channel or rank - 1


@dataclass(frozen=True)
class Kept:
    """Draws ``[k, b, ...]`` that keep all channels of an activation but number ``gone[B, n]``; all where that is -1."""

    gone: np.ndarray
    shape: tuple[int, ...]
    axis: int

    def __call__(self, points: range, samples: slice) -> tuple[np.ndarray, ...]:
        gone = self.gone[samples, points.start : points.stop].T
        masks = np.not_equal(gone[..., None], np.arange(self.shape[self.axis])).astype(np.float32)
        return (masks.reshape(*gone.shape, *(n if i == self.axis else 1 for i, n in enumerate(self.shape) if i)),)
