"""ScoreCAM (Wang et al. 2020, arXiv 1910.01279), with the top channels only as Faster-ScoreCAM has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from einops import rearrange

from whence.core import baselines
from whence.core.context import Context
from whence.core.engine import scores_over_variants, straight_line
from whence.core.ops import Ops, Tensor
from whence.core.validation import one_of, positive_int
from whence.methods.cam.channels import image_of, most_varied, placed_activations, weighted
from whence.methods.cam.maps import ActivationMap, divided

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
