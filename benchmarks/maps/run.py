"""One framework's table; runs in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.harness import fastest, ratios
from benchmarks.maps.workloads import WORKLOADS, Workload


def measure(framework: str) -> None:
    """Measure all workloads on one framework and write the table."""
    side = import_module(f"benchmarks.maps.on_{framework}")
    columns = ["workload", "floor's rows per call", "what", "CPU time over the floor", "compiled again"]
    report.write(
        f"maps_{framework}",
        report.head(
            f"Class activation maps on {framework}",
            f"maps {framework}",
            side.PACKAGES,
            "Floor: the same passes by hand, the network cut in two at the layer; rows per call the fastest of a few. "
            "One thread on one core, all calls interleaved in one process; median over rounds [quartiles] of CPU time "
            "over the floor's. ResNet-18 at 112 px, maps at the layer's resolution. Target: at most 1.05.",
        ),
        report.table(columns, (line for w in WORKLOADS for line in _measured(side.Case(w), w))),
    )


def _measured(case: Any, workload: Workload) -> Iterator[list[object]]:
    floors, ours = case.floors(), workload.explain(case.model, case.x, case.layer)
    a, b = np.asarray(ours()), np.asarray(next(iter(floors.values()))())
    difference = np.abs(a - b).max() / np.abs(b).max()
    assert difference < 1e-3, f"{workload.title}: {difference:.1e} apart"
    compiled = case.executions(ours)
    best = fastest(floors)
    variants = {"floor": floors[best], "whence": ours, **case.others()}
    for call, ratio in ratios(variants, "floor", rounds=workload.rounds).items():
        if call != "floor":
            rows = workload.batch if workload.method == "grad_cam" else int(best)
            yield [workload.title, rows, call, ratio, compiled if call == "whence" and compiled is not None else ""]
