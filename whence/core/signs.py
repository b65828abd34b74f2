"""Which values are nowhere below zero, as far as the operations show that made them: a relu's, and maxima of these."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

KEEP = frozenset((
    "avgpool", "broadcast_in_dim", "cast", "convert_element_type", "copy", "expand_dims", "expanddims", "identity",
    "mean", "name", "reduce_sum", "reduce_window_sum", "reshape", "rev", "slice", "squeeze", "stridedslice", "sum",
    "transpose", "zero_pad",
))  # fmt: skip
"""Operations of one value that give none below zero for such, by their names in lower case."""


class Signs:
    """What is known of the values met so far; a backend names them as it likes."""

    def __init__(self) -> None:
        self._known: set[Hashable] = set()

    def add(self, name: str, kind: str, inputs: Sequence[Hashable], outputs: Iterable[Hashable]) -> None:
        """Enter an operation by its name in lower case, with the inputs that carry data."""
        keeps = self.non_negative(inputs) and (kind == "max_pool" or name in KEEP)
        if kind in ("relu", "softmax") or keeps:
            self._known.update(outputs)

    def non_negative(self, values: Sequence[Hashable]) -> bool:
        """Whether there are values, none of which is below zero anywhere."""
        return bool(values) and self._known.issuperset(values)
