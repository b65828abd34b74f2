"""Several targets explained from the same passes of the model.

Variants of a sample do not depend on what is explained. The first target's computation therefore has the scores of all
targets taken from each pass, and the others, which ask for the same passes, find theirs here. One that asks for more,
because ``tol`` is not yet reached for it, goes on with passes of its own, again for all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Passes:
    """What was computed so far, passes that are alike in their order; ``current`` is the target whose turn it is."""

    current: int = 0
    found: dict[Hashable, list[Any]] = field(default_factory=dict)
    taken: Counter[Hashable] = field(default_factory=Counter)
    computing: bool = False

    def turn_of(self, target: int) -> None:
        """Begin again for another target."""
        self.current, self.taken = target, Counter()

    def next(self, what: Hashable, compute: Callable[[], Any]) -> Any:
        """The next result of its kind, computed unless an earlier target had it computed."""
        if self.computing:  # a pass inside another one is part of it
            return compute()
        known = self.found.setdefault(what, [])
        if self.taken[what] == len(known):
            self.computing = True
            try:
                known.append(compute())
            finally:
                self.computing = False
        self.taken[what] += 1
        return known[self.taken[what] - 1]
