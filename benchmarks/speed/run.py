"""One framework's table of times over the floor; runs in a process of its own."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Any

from benchmarks.harness import fastest, pinned, ratios
from benchmarks.speed.workloads import WORKLOADS, Workload


def measured(framework: str, names: list[str]) -> list[list[object]]:
    """Lines of the table: workload, floor's rows, call, time over the floor, Python runs of the model on a second call."""
    case_of, lines = import_module(f"benchmarks.speed.on_{framework}").Case, []
    for name in names:
        lines += _lines(case_of(WORKLOADS[name]), WORKLOADS[name])
    return lines


def _lines(case: Any, workload: Workload) -> list[list[object]]:
    floors, ours = case.floors(), workload.explain(case.model, case.x, case.target)
    ours()
    second = case.executions(ours)
    best = fastest(floors)
    variants = {"floor": floors[best], "whence": ours, **case.rivals()}
    if workload.method == "integrated_gradients":
        variants["floor and the two score passes"] = lambda: (floors[best](), case.scores())
    found = ratios(variants, "floor", rounds=workload.rounds)
    rows = int(best) * workload.batch
    return [
        [workload.title, rows, call, str(ratio), second if call == "whence" and second is not None else ""]
        for call, ratio in found.items()
        if call != "floor"
    ]


if __name__ == "__main__":
    pinned()
    print(json.dumps(measured(sys.argv[1], sys.argv[2:] or list(WORKLOADS))))
