"""One operation of a traced program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from whence.core.ops import Tensor
from whence.core.rule import Rule

Slot = int
"""Where a value is kept while a program runs."""


@dataclass
class Step:
    """One operation: what it reads, what it writes, which inputs depend on the data."""

    primitive: Any
    params: Mapping[str, Any]
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    data: tuple[int, ...]
    kind: str
    name: str
    avals: tuple[Any, ...]
    early: tuple[int, ...] = ()
    """Those of ``data`` that no affine operation comes before."""
    non_negative: bool = False
    """Of an affine operation, whether no number of its data is below zero."""
    last: bool = True
    """Of an affine operation, whether no other one comes after it."""
    layers: tuple[str, ...] = ()
    statistic: int | None = None
    """The operand of a product or quotient that is a statistic of a normalisation."""
    mark: str | None = None
    is_seen: bool = False
    """Whether a mark hands on the value that it is given."""
    rule: Rule | None = None
    bodies: tuple[Any, ...] = ()
    """Programs of a loop's body or of branches, where some operation in them has a rule."""
    parts: tuple[Step, ...] = ()
    """An affine operation and an elementwise function of what it gives, of which the step consists."""

    def call(self, *xs: Tensor) -> tuple[Tensor, ...]:
        """The operation at these inputs."""
        bound = self.primitive.get_bind_params(self.params)
        # jax before 0.7 gives a pair of functions and parameters
        functions, params = bound if isinstance(bound, tuple) else ((), bound)
        found = self.primitive.bind(*functions, *xs, **params)
        return tuple(found) if self.primitive.multiple_results else (found,)
