"""Maps weighted by gradients. A[k] is channel k of the layer's activation, s the score, g[k] = ds/dA[k].

GradCAM: sum_k mean(g[k]) A[k] (Selvaraju et al. 2017, arXiv 1610.02391).
GradCAMPlusPlus: sum_k (sum alpha[k] relu(g[k])) A[k] (Chattopadhay et al. 2018, arXiv 1710.11063).
HiResCAM: sum_k g[k] A[k] (Draelos and Carin 2020, arXiv 2011.08891).
XGradCAM: sum_k (sum g[k] A[k] / sum A[k]) A[k] (Fu et al. 2020, arXiv 2008.02312).
LayerCAM: sum_k relu(g[k]) A[k] (Jiang et al. 2021, IEEE TIP 30).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from whence.core.context import Context
from whence.core.ops import Ops, Tensor
from whence.core.validation import non_negative, one_of
from whence.methods.cam.maps import ActivationMap, divided, spatial_axes


@dataclass(frozen=True, kw_only=True, repr=False)
class GradientMap(ActivationMap):
    """Base of the maps that need the activation and the gradient towards it, and nothing else."""

    @abstractmethod
    def weigh(self, ops: Ops, a: Tensor, g: Tensor) -> Tensor:
        """The formula: the map ``[B, *spatial]`` of activation and gradient ``[B, *spatial, K]``."""

    def raw_maps(self, ctx: Context, layers: Sequence[str]) -> Sequence[Tensor]:
        return [self.weigh(ctx.ops, a, g) for a, g in self.with_gradients(ctx, layers)]


@dataclass(frozen=True, kw_only=True, repr=False)
class GradCAM(GradientMap):
    """Channels weighted by their mean gradient, in units of score. Source: Selvaraju et al. 2017, arXiv 1610.02391.

    See ``ActivationMap`` for the fields; the map is ``[B, *spatial]``. Raises LayerError for a layer without spatial
    axes, or one that the target does not depend on.
    """

    name: ClassVar[str] = "grad_cam"

    def weigh(self, ops: Ops, a: Tensor, g: Tensor) -> Tensor:
        weights = ops.mean(g, axis=spatial_axes(ops, g), keepdims=True)
        return ops.sum(weights * a, axis=-1)


@dataclass(frozen=True, kw_only=True, repr=False)
class GradCAMPlusPlus(GradientMap):
    """Channels weighted by their positive gradients, each place by alpha = g^2 / (2 g^2 + S g^3 + epsilon).

    S is the sum of the channel's activation, its mean with ``spatial="mean"``, and so is the channel's weight over its
    places. ``normalize_alpha`` divides a channel's alphas by their sum. The derivatives are those of exp(s), whose
    common factor is left out. Source: Chattopadhay et al. 2018, arXiv 1710.11063, equations 10 and 19.
    """

    name: ClassVar[str] = "grad_cam_plus_plus"

    epsilon: float = 0.0
    spatial: str = "sum"
    normalize_alpha: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        non_negative("epsilon", self.epsilon)
        one_of("spatial", self.spatial, ("sum", "mean"))

    def weigh(self, ops: Ops, a: Tensor, g: Tensor) -> Tensor:
        axes = spatial_axes(ops, a)
        reduce = ops.sum if self.spatial == "sum" else ops.mean
        # g^2 is divided out: small gradients would vanish in their own squares
        extra = divided(ops, ops.full_like(g, self.epsilon), g**2) if self.epsilon else 0.0
        alpha = divided(ops, ops.where(g == 0, ops.zeros_like(g), ops.ones_like(g)),
                        2 + reduce(a, axis=axes, keepdims=True) * g + extra)  # fmt: skip
        if self.normalize_alpha:
            alpha = divided(ops, alpha, ops.sum(alpha, axis=axes, keepdims=True))
        weights = reduce(alpha * ops.maximum(g, ops.zeros_like(g)), axis=axes, keepdims=True)
        return ops.sum(weights * a, axis=-1)


@dataclass(frozen=True, kw_only=True, repr=False)
class HiResCAM(GradientMap):
    """Gradient times activation at each place, summed over channels: faithful for one linear layer after the map.

    Source: Draelos and Carin 2020, arXiv 2011.08891. Signed by default.
    """

    name: ClassVar[str] = "hi_res_cam"

    relu: bool = False

    def weigh(self, ops: Ops, a: Tensor, g: Tensor) -> Tensor:
        return ops.sum(g * a, axis=-1)


@dataclass(frozen=True, kw_only=True, repr=False)
class XGradCAM(GradientMap):
    """Channels weighted by their gradients averaged with the activation as weight: sum g A / (sum A + epsilon).

    A channel whose activations sum to zero has no weight. Source: Fu et al. 2020, arXiv 2008.02312, equation 6.
    """

    name: ClassVar[str] = "x_grad_cam"

    epsilon: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        non_negative("epsilon", self.epsilon)

    def weigh(self, ops: Ops, a: Tensor, g: Tensor) -> Tensor:
        axes = spatial_axes(ops, a)
        total = ops.sum(a, axis=axes, keepdims=True) + self.epsilon
        return ops.sum(divided(ops, ops.sum(g * a, axis=axes, keepdims=True), total) * a, axis=-1)


@dataclass(frozen=True, kw_only=True, repr=False)
class LayerCAM(GradientMap):
    """Activations weighted place by place with the positive part of their gradient; works at early layers.

    Source: Jiang et al. 2021, IEEE Transactions on Image Processing 30, 10.1109/TIP.2021.3089943.
    """

    name: ClassVar[str] = "layer_cam"

    def weigh(self, ops: Ops, a: Tensor, g: Tensor) -> Tensor:
        return ops.sum(ops.maximum(g, ops.zeros_like(g)) * a, axis=-1)
