"""Time of backward rules over that of a plain gradient, by hand, in the same process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import whence
from benchmarks import report
from benchmarks.comparison import COLUMNS, compared, require_same
from benchmarks.speed.workloads import Workload

NETWORKS = (
    ("ResNet 112 px, batch 16", Workload("", "saliency", "resnet", 16, options={"image": 112})),
    (
        "ViT 112 px, 197 tokens of 192, batch 4",
        Workload("", "saliency", "vit", 4, options=dict(image=112, patch=8, dim=192, heads=4, hidden=768, depth=4)),
    ),
)
METHODS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("guided_backprop", "guided_backprop", {}),
    ("deep_lift", "deep_lift", {}),
    ("lrp", "lrp", {}),
    ("lrp epsilon_plus_flat", "lrp", {"composite": "epsilon_plus_flat"}),
)
"""(label, name, parameters)"""
ROUNDS = 9


def measure(framework: str) -> None:
    """Measure the methods on one framework and write the table."""
    side = import_module(f"benchmarks.speed.on_{framework}")
    guided = "1.2" if framework == "torch" else "1.1"
    report.write(
        f"rules_{framework}",
        report.head(
            f"Backward rules on {framework}",
            f"rules {framework}",
            side.PACKAGES,
            "Floor: the gradient by hand, as for the speed of gradients; for DeepLIFT, that and a forward pass at the "
            "baseline. One thread on one core, all calls interleaved in one process; median over rounds [quartiles] of "
            f"CPU time over the floor's. Targets: guided backprop {guided}, DeepLIFT and LRP (epsilon) 1.5.",
        ),
        report.table(COLUMNS, (line for title, workload in NETWORKS for line in _lines(side, title, workload))),
    )


def _lines(side: Any, title: str, workload: Workload) -> Iterator[list[object]]:
    case = side.Case(workload)
    (gradient,) = case.floors().values()
    require_same(title, workload.explain(case.model, case.x, case.target)(), gradient())
    for label, name, params in METHODS:
        if name == "guided_backprop" and workload.network == "vit":
            continue  # it has no relu
        floor = (lambda: (case.forward_pass(), gradient())) if name == "deep_lift" else gradient
        yield from compared(
            case, f"{label}, {title}", _explain(case, name, params), {"1": floor}, rounds=ROUNDS,
            rows=lambda _: workload.batch, beside=lambda _, label=label: case.by_rules(label),
        )  # fmt: skip


def _explain(case: Any, name: str, params: dict[str, Any]) -> Callable[[], Any]:
    return lambda: whence.explain(case.model, case.x, name, case.target, **params).attributions
