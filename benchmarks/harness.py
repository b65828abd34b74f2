"""Interleaved timing, the same for every framework.

All variants run in one process. Every round runs each of them once, in reversed order every other round. The figure is
the median over rounds of a variant's process CPU time over the floor's in the same round, so that a load that comes and
goes meets all variants alike. One core is used (see ``pinned``): with one thread CPU time is the time a user waits.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median, quantiles
from time import process_time, sleep

LEAST_SECONDS = 0.05
"""Fast variants are repeated until they take about this long in each round."""
AFTERWARDS = 0.02
"""Seconds after a variant in which its threads come to rest; sleeping takes no CPU time."""

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    # freed memory is kept: when it goes back to the system hangs on the order of allocations, by chance
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
}  # fmt: skip
"""Environment of a measuring process, set before it starts."""


@dataclass(frozen=True)
class Ratio:
    """CPU time over the floor's: the median over rounds, and its quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


def pinned(core: int = -1) -> None:
    """Keep this process on one of the cores it may use; to be called before the frameworks count them."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[core]})


def cpu_seconds(
    variants: Mapping[str, Callable[[], object]], rounds: int, repeat: Mapping[str, int] | None = None
) -> dict[str, list[float]]:
    """CPU seconds of one call of each variant in each round; a variant must wait for its own result.

    ``repeat``: over how many calls of a variant a round takes the mean, one if it is not named.

    What a framework's threads still do afterwards, such as giving back memory, counts for the variant that caused it.
    """
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for order in _orders(list(variants), rounds):
        gc.collect()
        for name in order:
            call, times = variants[name], (repeat or {}).get(name, 1)
            began = process_time()
            for _ in range(times):
                call()
            sleep(AFTERWARDS)
            taken[name].append((process_time() - began) / times)
    return taken


def ratios(variants: Mapping[str, Callable[[], object]], floor: str, *, rounds: int) -> dict[str, Ratio]:
    """Every variant's CPU time relative to the floor's, after one call of each to warm up."""
    for call in variants.values():
        call()
    once = cpu_seconds(variants, rounds=1)
    taken = cpu_seconds(variants, rounds, {name: ceil(LEAST_SECONDS / max(s[0], 1e-6)) for name, s in once.items()})
    return {name: ratio(seconds, taken[floor]) for name, seconds in taken.items()}


def ratio(seconds: Sequence[float], floor: Sequence[float]) -> Ratio:
    """The ratio of two variants measured in the same rounds."""
    each = [s / f for s, f in zip(seconds, floor, strict=True)]
    low, _, high = quantiles(each, n=4, method="inclusive") if len(each) > 1 else each * 3
    return Ratio(median(each), low, high)


def fastest(candidates: Mapping[str, Callable[[], object]], rounds: int = 2) -> str:
    """The candidate that takes least CPU time, measured interleaved."""
    for call in candidates.values():
        call()
    taken = cpu_seconds(candidates, rounds)
    return min(candidates, key=lambda name: median(taken[name]))


def _orders(names: list[str], rounds: int) -> Iterator[list[str]]:
    for index in range(rounds):
        yield names[::-1] if index % 2 else names
