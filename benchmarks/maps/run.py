"""One framework's table; runs in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from benchmarks import report
from benchmarks.comparison import COLUMNS, compared, require_same
from benchmarks.maps.workloads import WORKLOADS, Workload


def measure(framework: str) -> None:
    """Measure all workloads on one framework and write the table."""
    side = import_module(f"benchmarks.maps.on_{framework}")
    report.write(
        f"maps_{framework}",
        report.head(
            f"Class activation maps on {framework}",
            f"maps {framework}",
            side.PACKAGES,
            "Floor: the same passes by hand, the network cut in two at the layer; rows per call the fastest of a few. "
            "One thread on one core, all calls interleaved in one process; median over rounds [quartiles] of CPU time "
            "over the floor's. ResNet-18 at 224 px, maps at the layer's resolution. Target: at most 1.05.",
        ),
        report.table(COLUMNS, (line for w in WORKLOADS for line in _measured(side.Case(w), w))),
    )


def _measured(case: Any, workload: Workload) -> Iterator[list[object]]:
    floors, ours = case.floors(), workload.explain(case.model, case.x, case.layer)
    require_same(workload.title, ours(), next(iter(floors.values()))())
    yield from compared(
        case, workload.title, ours, floors, rounds=workload.rounds, beside=lambda _: case.others(),
        rows=lambda best: workload.batch if workload.method == "grad_cam" else int(best),
    )  # fmt: skip
