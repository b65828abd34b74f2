"""What a table of times over the floor says of one workload, the same for every table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks.harness import fastest, ratios

Call = Callable[[], Any]
COLUMNS = ("workload", "floor's rows per call", "what", "CPU time over the floor", "compiled again")


def compared(
    case: Any, title: str, ours: Call, floors: Mapping[str, Call], *, rounds: int, rows: Callable[[str], int],
    beside: Callable[[Call], Mapping[str, Call]],
) -> Iterator[list[object]]:  # fmt: skip
    """Lines of ``COLUMNS``: whence and ``beside(floor)`` over the fastest of ``floors``, named by their batch sizes."""
    ours()
    compiled = case.executions(ours)
    best = fastest(floors) if len(floors) > 1 else next(iter(floors))
    variants = {"floor": floors[best], "whence": ours, **beside(floors[best])}
    for what, ratio in ratios(variants, "floor", rounds=rounds).items():
        if what != "floor":
            yield [title, rows(best), what, ratio, compiled if what == "whence" and compiled is not None else ""]


def require_same(title: str, ours: Any, by_hand: Any) -> None:
    """A floor that computes something else would be none."""
    ours, by_hand = np.asarray(ours), np.asarray(by_hand)
    difference = np.abs(ours - by_hand).max() / np.abs(by_hand).max()
    assert difference < 1e-3, f"{title}: {difference:.1e} apart"
