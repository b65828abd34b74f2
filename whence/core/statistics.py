"""Which values are the statistics of a normalisation: the root of a mean or sum, as a standard deviation is.

Layer, group and RMS normalisation multiply by such a value, or divide by it, however a framework spells them. Backends
tell of the operations as they meet them, and name values as they like.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

REDUCTIONS = frozenset(("sum", "mean", "nansum", "reduce_sum"))
ROOTS = frozenset(("sqrt", "rsqrt"))
_OF_REDUCED = ("linear", "elementwise", "mul", "div", "relu", "max", "min", "select", "stop_gradient")
"""Kinds that give a function of sums for sums: a variance may be the mean of squares less the square of the mean."""


class Statistics:
    """What is known of the values met so far."""

    def __init__(self) -> None:
        self._reduced: set[Hashable] = set()
        self._roots: set[Hashable] = set()

    def add(self, name: str, kind: str, inputs: Sequence[Hashable], outputs: Iterable[Hashable]) -> bool:
        """Enter an operation by its name in lower case, with the inputs that carry data; whether it is remembered."""
        of_reduced = bool(inputs) and self._reduced.issuperset(inputs)
        of_roots = bool(inputs) and self._roots.issuperset(inputs)
        reduces = name in REDUCTIONS or (of_reduced and kind in _OF_REDUCED)
        is_root = (name in ROOTS and of_reduced) or (of_roots and kind in ("linear", "elementwise"))
        self._reduced.update(outputs if reduces else ())
        self._roots.update(outputs if is_root else ())
        return reduces or is_root

    def operand(self, kind: str, inputs: Sequence[Hashable]) -> int | None:
        """Which operand of a product or quotient is a statistic, the only one; None where none is."""
        found = [i for i, value in enumerate(inputs) if value in self._roots]
        is_norm = len(found) == 1 and len(inputs) == 2 and (kind == "mul" or (kind == "div" and found == [1]))
        return found[0] if is_norm else None
