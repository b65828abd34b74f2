"""The first principal component of a layer's map, over its places.

EigenCAM: of the activation (Muhammad and Yeasin 2020, arXiv 2008.00299). EigenGradCAM: of gradient times activation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from whence.core.context import Context
from whence.core.ops import Ops, Tensor
from whence.methods.cam.channels import placed_activations
from whence.methods.cam.maps import ActivationMap


@dataclass(frozen=True, kw_only=True, repr=False)
class EigenCAM(ActivationMap):
    """The activation ``[places, K]`` projected on its first right singular vector; no class and no gradient.

    ``center`` subtracts each channel's mean first, which makes the map a principal component. A singular vector has
    no sign of its own: it is turned such that the map agrees with the mean activation. The decomposition is done in
    float64 on the host. Source: Muhammad and Yeasin 2020, arXiv 2008.00299.
    """

    name: ClassVar[str] = "eigen_cam"
    needs_gradient: ClassVar[bool] = False
    explains_score: ClassVar[bool] = False

    relu: bool = False
    center: bool = True

    def raw_maps(self, ctx: Context, layers: Sequence[str]) -> Sequence[Tensor]:
        return [first_component(ctx.ops, a, self.center) for a in placed_activations(self, ctx, layers)]


@dataclass(frozen=True, kw_only=True, repr=False)
class EigenGradCAM(EigenCAM):
    """The first principal component of gradient times activation, so of what speaks for the class; signed alike.

    Source: EigenCAM's projection (arXiv 2008.00299) of the products that HiResCAM sums.
    """

    name: ClassVar[str] = "eigen_grad_cam"
    needs_gradient: ClassVar[bool] = True
    explains_score: ClassVar[bool] = True

    def raw_maps(self, ctx: Context, layers: Sequence[str]) -> Sequence[Tensor]:
        return [first_component(ctx.ops, g * a, self.center) for a, g in self.with_gradients(ctx, layers)]


def first_component(ops: Ops, a: Tensor, center: bool) -> Tensor:
    """Each sample's ``[*spatial, K]`` projected on its first right singular vector, ``[B, *spatial]``."""
    values = np.asarray(ops.to_numpy(a), np.float64)
    batch, *places, channels = values.shape
    rows = values.reshape(batch, -1, channels)
    matrix = rows - rows.mean(axis=1, keepdims=True) if center else rows
    _, _, vectors = np.linalg.svd(matrix, full_matrices=False)
    projected = np.einsum("bpk,bk->bp", matrix, vectors[:, 0])
    agreement = np.einsum("bp,bp->b", projected, rows.sum(axis=2))
    signed = projected * np.where(agreement < 0, -1.0, 1.0)[:, None]
    return ops.asarray(signed.reshape(batch, *places), like=a)
