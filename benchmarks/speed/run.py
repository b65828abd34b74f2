"""One framework's table of times over the floor; runs in a process of its own."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from benchmarks.harness import fastest, ratios
from benchmarks.speed.workloads import TARGETED, WORKLOADS


def rows(framework: str, names: list[str]) -> list[list[object]]:
    """Lines of the table: workload, call, time over the floor."""
    case_of, lines = import_module(f"benchmarks.speed.on_{framework}").Case, []
    for name in names:
        lines += _measured(case_of(WORKLOADS[name]), name)
    return lines


def _measured(case: Any, name: str) -> list[list[object]]:
    workload, floors = case.workload, case.floors()
    best = fastest(floors)
    floor = floors[best]

    def with_scores() -> None:
        floor()
        case.scores()

    variants = {"floor": floor, "whence": workload.explain(case.model, case.x, case.target), **case.rivals()}
    if workload.method == "integrated_gradients":
        variants["floor and the two score passes"] = with_scores
    found = ratios(variants, "floor", rounds=workload.rounds)
    title = f"{workload.title} (floor: {int(best) * workload.batch} rows)"
    return [[title, call, str(ratio)] for call, ratio in found.items() if call != "floor"]
