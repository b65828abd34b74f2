"""Which values are functions of one other value, element by element.

``x * sigmoid(x)``, ``where(x > 0, x, exp(x) - 1)`` and a gelu written out are each one elementwise operation on x: the
value that all their inputs come from, nearest first. Backends ask as they meet the operations, and name values as
they like.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence


class Pointwise:
    """What is known of the values met so far."""

    def __init__(self) -> None:
        self._above: dict[Hashable, tuple[Hashable, ...]] = {}

    def __contains__(self, value: Hashable) -> bool:
        return value in self._above

    def root(self, inputs: Sequence[Hashable], can_be: Callable[[Hashable], bool]) -> Hashable | None:
        """The nearest value that all of ``inputs`` are elementwise functions of, and that ``can_be`` a root."""
        chains: list[Iterable[Hashable]] = [self.chain(value) for value in inputs]
        first, *others = chains
        common = (v for v in first if all(v in chain for chain in others))
        return next((v for v in common if can_be(v)), None)

    def chain(self, value: Hashable) -> tuple[Hashable, ...]:
        """The value, and all that it is an elementwise function of, nearest first."""
        return (value, *self._above.get(value, ()))

    def add(self, output: Hashable, root: Hashable) -> None:
        """Remember that ``output`` is an elementwise function of ``root``."""
        self._above[output] = self.chain(root)
