"""One framework's table of times over the floor; runs in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from benchmarks import report
from benchmarks.comparison import COLUMNS, Call, compared, require_same
from benchmarks.speed.workloads import OVERHEAD, TARGETED, Workload

FLOORS = {
    "torch": "eager, frozen parameters, weights and images channels last, `autograd.grad` towards the input",
    "jax": "one jitted function of parameters and a tile, a Python loop over tiles",
    "tensorflow": "one `tf.function` of a tile, a Python loop over tiles",
}


def measure(framework: str) -> None:
    """Measure all workloads on one framework and write the tables."""
    side = import_module(f"benchmarks.speed.on_{framework}")
    report.write(
        f"speed_{framework}",
        report.head(
            f"Speed on {framework}",
            f"speed {framework}",
            side.PACKAGES,
            f"Floor: {FLOORS[framework]}; rows per call the fastest of a few; sums on the fly, and nothing but the "
            "gradients (SmoothGrad: with the framework's own noise). One thread on one core, all calls interleaved in "
            "one process; median over rounds [quartiles] of CPU time over the floor's. The last column counts traces "
            "and compilations during a second explanation with a new method object.",
        ),
        "Target: at most 1.05.",
        report.table(COLUMNS, _lines(side, TARGETED)),
        "Very small networks, where Python's own time shows (no target).",
        report.table(COLUMNS, _lines(side, OVERHEAD)),
    )


def _lines(side: Any, workloads: Sequence[Workload]) -> Iterator[list[object]]:
    for workload in workloads:
        yield from _measured(side.Case(workload), workload)


def _measured(case: Any, workload: Workload) -> Iterator[list[object]]:
    floors, ours = case.floors(), workload.explain(case.model, case.x, case.target)
    # noise differs, and so does the baseline at an embedding
    if workload.method != "smooth_grad" and workload.layer is None:
        require_same(workload.title, ours(), next(iter(floors.values()))())

    def beside(floor: Call) -> dict[str, Call]:
        found = dict(case.others())
        if workload.method == "integrated_gradients":
            found["floor and the two score passes"] = lambda: (floor(), case.forward_pass(), case.forward_pass())
        return found

    yield from compared(
        case, workload.title, ours, floors, rounds=workload.rounds, beside=beside,
        rows=lambda best: int(best) * workload.batch,
    )  # fmt: skip
