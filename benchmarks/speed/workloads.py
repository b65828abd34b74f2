"""What is timed, the same on every framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import whence

COUNTS = {"saliency": None, "integrated_gradients": "n_steps", "smooth_grad": "n_samples"}


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
    rounds: int = 7
    floor_rows: tuple[int, ...] = (16, 32)
    """Batch sizes among which the floor takes the fastest."""

    @property
    def tiles(self) -> tuple[int, ...]:
        """Points of all inputs in one call, for each batch size that the floor tries."""
        return tuple(sorted({min(max(rows // self.batch, 1), self.points) for rows in self.floor_rows}))

    def explain(self, model: Any, x: Any, target: Any) -> Callable[[], Any]:
        """The call to whence, with a new method object each time."""
        count = COUNTS[self.method]
        params: dict[str, Any] = {} if count is None else {count: self.points}
        if self.layer is not None:
            params["layer"] = self.layer
        return lambda: whence.explain(model, x, self.method, target, **params).attributions


def _resnet(title: str, method: str, **sizes: int) -> Workload:
    return Workload(f"{title}, ResNet 224 px", method, "resnet", options={"image": 224}, **sizes)


TARGETED = (
    _resnet("Saliency, batch 16", "saliency", batch=16, rounds=15),
    _resnet("IG 50 steps, batch 4", "integrated_gradients", batch=4, points=50, rounds=5),
    _resnet("SmoothGrad 25 samples, batch 4", "smooth_grad", batch=4, points=25, rounds=5),
)
"""The workloads that are to stay within 1.05 of the floor."""

OVERHEAD = (
    Workload("IG 50 steps, batch 16, MLP 30-64-64-2", "integrated_gradients", "mlp", batch=16, points=50,
             floor_rows=(160, 400, 800)),
    Workload("IG 50 steps at the embedding, batch 16, text", "integrated_gradients", "text", batch=16, points=50,
             layer="embedding", floor_rows=(32, 80, 160, 400, 800)),
)  # fmt: skip
"""The workloads that show the overhead on very small networks."""
