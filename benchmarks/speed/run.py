"""One framework's table of times over the floor; runs in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.harness import fastest, ratios
from benchmarks.speed.workloads import OVERHEAD, TARGETED, Workload

FLOORS = {
    "torch": "eager, frozen parameters, weights and images channels last, `autograd.grad` towards the input",
    "jax": "one jitted function of parameters and a tile, a Python loop over tiles",
    "tensorflow": "one `tf.function` of a tile, a Python loop over tiles",
}


def measure(framework: str) -> None:
    """Measure all workloads on one framework and write the tables."""
    side = import_module(f"benchmarks.speed.on_{framework}")
    columns = ["workload", "floor's rows per call", "what", "CPU time over the floor", "compiled again"]
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
        report.table(columns, _lines(side, TARGETED)),
        "Very small networks, where Python's own time shows (no target).",
        report.table(columns, _lines(side, OVERHEAD)),
    )


def _lines(side: Any, workloads: Sequence[Workload]) -> Iterator[list[object]]:
    for workload in workloads:
        yield from _measured(side.Case(workload), workload)


def _require_same(workload: Workload, ours: Any, by_hand: Any) -> None:
    """A floor that computes something else would be none; noise differs, and so does the baseline at an embedding."""
    if workload.method == "smooth_grad" or workload.layer is not None:
        return
    ours, by_hand = np.asarray(ours), np.asarray(by_hand)
    difference = np.abs(ours - by_hand).max() / np.abs(by_hand).max()
    assert difference < 1e-3, f"{workload.title}: {difference:.1e} apart"


def _measured(case: Any, workload: Workload) -> Iterator[list[object]]:
    floors, ours = case.floors(), workload.explain(case.model, case.x, case.target)
    _require_same(workload, ours(), next(iter(floors.values()))())
    compiled = case.executions(ours)
    best = fastest(floors)
    variants = {"floor": floors[best], "whence": ours, **case.others()}
    if workload.method == "integrated_gradients":
        variants["floor and the two score passes"] = lambda: (floors[best](), case.scores())
    for call, ratio in ratios(variants, "floor", rounds=workload.rounds).items():
        if call != "floor":
            shown = compiled if call == "whence" and compiled is not None else ""
            yield [workload.title, int(best) * workload.batch, call, ratio, shown]
