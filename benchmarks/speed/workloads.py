"""What is timed, the same on every framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import whence


@dataclass(frozen=True)
class Workload:
    """One method on one network: ``points`` gradients for each of ``batch`` inputs."""

    title: str
    method: str
    network: str
    batch: int
    points: int = 1
    options: Mapping[str, int] = field(default_factory=dict)
    layer: str | None = None
    rounds: int = 15
    floor_rows: tuple[int, ...] = (8, 16, 20, 25, 32)
    """Batch sizes among which the floor takes the fastest."""

    @property
    def tiles(self) -> tuple[int, ...]:
        """Points of all inputs in one batch, for each batch size that the floor tries."""
        return tuple(sorted({min(max(rows // self.batch, 1), self.points) for rows in self.floor_rows}))

    def explain(self, model: Any, x: Any, target: Any) -> Callable[[], Any]:
        """The call to whence, with a new method object each time."""
        count = {"saliency": {}, "integrated_gradients": {"n_steps": self.points}, "smooth_grad": {"n_samples": self.points}}
        params = {**count[self.method], **({"layer": self.layer} if self.layer else {})}
        return lambda: whence.explain(model, x, self.method, target, **params).attributions


RESNET = {"network": "resnet", "options": {"image": 112}}
WORKLOADS = {
    "saliency": Workload("Saliency, batch 16, ResNet 112 px", "saliency", batch=16, rounds=25, **RESNET),
    "ig": Workload("IG 50 steps, batch 4, ResNet 112 px", "integrated_gradients", batch=4, points=50, **RESNET),
    "smoothgrad": Workload("SmoothGrad 25, batch 4, ResNet 112 px", "smooth_grad", batch=4, points=25, **RESNET),
    "mlp": Workload("IG 50 steps, batch 16, MLP 30-64-64-2", "integrated_gradients", network="mlp", batch=16, points=50,
                    floor_rows=(160, 400, 800)),
    "text": Workload("IG 50 steps at the embedding, batch 16, text", "integrated_gradients", network="text", batch=16,
                     points=50, layer="embedding", floor_rows=(16, 32, 80, 160, 400, 800)),
}  # fmt: skip
TARGETED = ("saliency", "ig", "smoothgrad")
"""The workloads that are to stay within 1.05 of the floor; the others show the overhead on very small networks."""
