"""What is timed, the same on every framework: maps of the ResNet of the zoo at 224 px."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import whence

IMAGE = 224
TARGET = 3
EPSILON = 1e-12
"""The least range of a channel that is scaled."""


@dataclass(frozen=True)
class Workload:
    """A map at a layer; ``channels`` forward passes of each input where scores weigh them."""

    title: str
    method: str
    stage: int
    batch: int
    channels: int = 0
    rounds: int = 7
    floor_rows: tuple[int, ...] = (8, 16, 32, 64)

    def explain(self, model: Any, x: Any, layer: str) -> Callable[[], Any]:
        """The call to whence."""
        params = {"weights": "score"} if self.method == "score_cam" else {}
        return lambda: (
            whence.explain(
                model, x, self.method, TARGET, layer=layer, upsample="none", relu=False, **params
            ).attributions
        )


WORKLOADS = (
    Workload("GradCAM at the last stage, batch 16", "grad_cam", 4, 16, rounds=9),
    Workload("GradCAM at the second stage, batch 16", "grad_cam", 2, 16, rounds=9),
    Workload("ScoreCAM, 64 channels, batch 1", "score_cam", 2, 1, 64),
    Workload("AblationCAM, 128 channels, batch 1", "ablation_cam", 3, 1, 128),
)
