"""What is timed, the same on every framework: the zoo's ResNet on a picture, and an MLP on eight rows of a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import whence

TARGET = 1
COLUMNS, BATCH, HIDDEN = 30, 8, 64


@dataclass(frozen=True)
class Workload:
    """One method: what is called, and the variants that take as many rows by hand.

    ``keep[K, F]`` says which features each variant keeps, ``mask``, ``[H, W]`` or ``[F]``, where they are. ``solve``:
    whether the method solves a least-squares problem. ``rows``: candidates for the floor's rows per call.
    """

    title: str
    kind: str
    method: whence.Method
    keep: np.ndarray
    mask: np.ndarray
    image: int | None = None
    solve: bool = False
    rounds: int = 3
    rows: tuple[int, ...] = (12, 24)
    beside: bool = True
    """Whether other libraries run as well."""

    def explain(self, model: Any, x: Any) -> Callable[[], Any]:
        """The call to whence."""
        return lambda: self.method.explain(model, x, TARGET).attributions

    def steps(self, rows: int, batch: int) -> list[np.ndarray]:
        """The variants in even parts of at most so many rows, none of which is left with a few."""
        return np.array_split(self.keep, -(-len(self.keep) // max(rows // batch, 1)))


def patches(image: int, size: int) -> np.ndarray:
    """Numbers of square patches, ``[image, image]``."""
    side = np.arange(image) // size
    return side[:, None] * (image // size) + side


def half(count: int, features: int) -> np.ndarray:
    """Variants that keep about half of the features."""
    return np.random.default_rng(0).random((count, features)) < 0.5


WORKLOADS = (
    # the floor's masks are patches here: composing costs the same, whichever pixels are replaced
    Workload("Occlusion, 49 windows of 56 px, 224 px, ResNet", "occlusion", whence.Occlusion(window=56, stride=28),
             ~np.eye(49, dtype=bool), patches(224, 32), image=224),
    Workload("FeatureAblation, 49 patches, 224 px, ResNet", "ablation",
             whence.FeatureAblation(feature_mask=whence.features.Grid(32)),
             ~np.eye(49, dtype=bool), patches(224, 32), image=224),
    Workload("RISE, 200 masks, 112 px, ResNet", "rise", whence.RISE(n_samples=200), half(200, 16),
             patches(112, 28), image=112),
    Workload("LIME, 200 samples, 16 segments, 112 px, ResNet", "lime",
             whence.LIME(n_samples=200, feature_mask=whence.features.Grid(28), baseline="zeros"),
             half(200, 16), patches(112, 28), image=112, solve=True),
    Workload("KernelSHAP, 300 samples, 8 rows of 30, MLP", "kernel", whence.KernelSHAP(n_samples=300),
             half(300, COLUMNS), np.arange(COLUMNS), solve=True, rounds=7, rows=(1200, 2400, 4800)),
    Workload("Shapley sampling, 25 orders, 8 rows of 30, MLP", "orders", whence.ShapleySampling(n_samples=25),
             half(25 * COLUMNS, COLUMNS), np.arange(COLUMNS), rounds=7, rows=(1200, 2400, 4800)),
    Workload("KernelSHAP, as many samples as by default, 8 rows of 30, MLP", "kernel", whence.KernelSHAP(),
             half(2 * COLUMNS + 2048, COLUMNS), np.arange(COLUMNS), solve=True, rounds=7, rows=(1200, 2400, 4800),
             beside=False),
    Workload("Shapley sampling, 100 orders, 8 rows of 30, MLP", "orders", whence.ShapleySampling(n_samples=100),
             half(100 * COLUMNS, COLUMNS), np.arange(COLUMNS), rounds=7, rows=(1200, 2400, 4800), beside=False),
    Workload("Occlusion, 729 windows of 16 px, 224 px, ResNet", "occlusion", whence.Occlusion(window=16, stride=8),
             ~np.eye(729, dtype=bool), np.minimum(patches(224, 8), 728), image=224, beside=False),
    Workload("FeatureAblation, 196 patches, 224 px, ResNet", "ablation",
             whence.FeatureAblation(feature_mask=whence.features.Grid(16)),
             ~np.eye(196, dtype=bool), patches(224, 16), image=224, beside=False),
    Workload("RISE, 1000 masks, 112 px, ResNet", "rise", whence.RISE(n_samples=1000), half(1000, 16),
             patches(112, 28), image=112, beside=False),
    Workload("LIME, 1000 samples, 64 segments, 112 px, ResNet", "lime",
             whence.LIME(n_samples=1000, feature_mask=whence.features.Grid(14), baseline="zeros"),
             half(1000, 64), patches(112, 14), image=112, solve=True, beside=False),
)  # fmt: skip
"""Other libraries run on few enough variants that a table takes some minutes."""
