"""One framework's table; runs in a process of its own."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np

import whence
from benchmarks import report
from benchmarks.harness import fastest, ratios
from benchmarks.perturbation import others
from benchmarks.perturbation.workloads import WORKLOADS, Workload


def measure(framework: str) -> None:
    """Measure all workloads on one framework and write the table."""
    warnings.simplefilter("ignore")
    side = import_module(f"benchmarks.perturbation.on_{framework}")
    report.write(
        f"perturbation_{framework}",
        report.head(
            f"Perturbation methods on {framework}",
            f"perturbation {framework}",
            (*side.PACKAGES, "lime", "shap"),
            "Floor: as many rows by hand, compiled where the framework compiles, without a graph, rows per call the "
            "fastest of a few, masks made beforehand, one least-squares solution where the method has one. One thread "
            "on one core, all calls interleaved in one process; median over rounds [quartiles] of CPU time over the "
            "floor's. Other libraries at their defaults with as many samples, unless said otherwise; lime and shap get "
            "the model as a function on arrays. Target: at most 1.05 for pictures, 2 for the table.",
        ),
        report.table(
            ["workload", "rows", "floor's rows per call", "what", "CPU time over the floor"],
            (line for w in WORKLOADS for line in _measured(side.Case(w), w)),
        ),
    )


def _measured(case: Any, workload: Workload) -> Iterator[list[object]]:
    floors = {str(rows): case.floor(rows) for rows in workload.rows}
    best = fastest(floors)
    variants = {"floor": floors[best], "whence": workload.explain(case.model, case.x)}
    if workload.kind == "kernel":
        variants["whence, another seed each time"] = _fresh(workload.method, case)
    if workload.beside:
        variants |= {**case.others(), **others.calls(workload, np.asarray(case.x), case.predict)}
    for name, ratio in ratios(variants, "floor", rounds=workload.rounds).items():
        if name != "floor":
            yield [workload.title, len(workload.keep) * len(case.x), best, name, ratio]


def _fresh(method: whence.Method, case: Any) -> Callable[[], object]:
    """Coalitions drawn anew in every call."""
    seeds = iter(range(10**9))
    return lambda: replace(method, seed=next(seeds)).explain(case.model, case.x, 1).attributions  # type: ignore[call-arg]
