"""Backward rules on operations: guided backprop, deconvnet, DeepLIFT and LRP replace the derivative of chosen ones.

A backend re-runs the user's forward pass and presents each operation on the path from input to output as an
``OpCall``. A rule is a formula written once: ``(ops, op, cotangents) -> cotangents``. A rule set is an ordered
list of (matcher, rule); the first match wins, an operation without a match keeps its own derivative.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from whence.core.errors import CoverageError
from whence.core.ops import Ops, Tensor

KINDS = (
    "relu", "elementwise", "select", "mul", "matmul", "conv", "div", "softmax", "log_softmax", "logsumexp",
    "max_pool", "max", "affine", "stop_gradient", "call", "linear", "opaque",
)  # fmt: skip
"""The canonical kinds, one table for all frameworks; composites are matched at this granularity."""


class OpCall(ABC):
    """One operation of the forward pass.

    ``data`` says which inputs depend on the attributed input. ``ref_inputs`` and ``ref_outputs`` are the same
    operation's values for the reference input, None where no reference was run.
    """

    kind: str
    name: str
    """The framework's own name of the operation, for coverage reports."""
    params: Mapping[str, Any]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    ref_inputs: tuple[Tensor, ...] | None = None
    ref_outputs: tuple[Tensor, ...] | None = None
    data: tuple[int, ...]

    @abstractmethod
    def call(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The operation at other inputs."""

    @abstractmethod
    def vjp(self, inputs: Sequence[Tensor], cotangents: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
        """The operation's own pullback at ``inputs``: one cotangent per input, None for inputs without data."""


Rule = Callable[[Ops, OpCall, Sequence[Tensor]], Sequence[Tensor | None]]
Matcher = Callable[[OpCall], bool]


def kind_is(*kinds: str) -> Matcher:
    """Match operations by canonical kind."""

    def matches(op: OpCall) -> bool:
        return op.kind in kinds

    return matches


@dataclass(frozen=True)
class RuleSet:
    """An ordered list of (matcher, rule); ``name`` identifies it, in reports and in compiled code."""

    name: str
    rules: tuple[tuple[Matcher, Rule], ...]

    def find(self, op: OpCall) -> Rule | None:
        """The rule of the first matcher that accepts the operation."""
        return next((rule for matches, rule in self.rules if matches(op)), None)


@dataclass
class Coverage:
    """Which operations were seen on the path from input to output, counted by what became of them."""

    ruled: Counter[str] = field(default_factory=Counter)
    plain: Counter[str] = field(default_factory=Counter)

    def require(self, rules: RuleSet) -> None:
        """Raise unless some rule was applied: a rule method never returns the plain gradient silently."""
        if not self.ruled:
            seen = ", ".join(sorted(self.plain)) or "no operation at all"
            raise CoverageError(
                f"backward rules {rules.name!r}",
                received=f"a model in which none applies ({seen})",
                valid="a model with an operation that the rules cover",
            )

    def clear(self) -> None:
        """Forget what was counted: one forward pass is reported, not the sum over chunks."""
        self.ruled.clear()
        self.plain.clear()

    def summary(self) -> dict[str, dict[str, int]]:
        """Counts per operation name, for the provenance."""
        return {"ruled": dict(self.ruled), "plain": dict(self.plain)}
