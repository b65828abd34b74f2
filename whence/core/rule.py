"""Backward rules on operations: guided backprop, deconvnet, DeepLIFT and LRP replace the derivative of chosen ones.

A backend re-runs the user's forward pass and presents each operation on the path from input to output as an
``OpCall``. A rule is a formula written once: ``(ops, op, cotangents) -> cotangents``. A rule set is an ordered
list of (matcher, rule); the first match wins.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

from whence.core.errors import CoverageError
from whence.core.ops import Ops, Tensor

KINDS: Mapping[str, str] = {
    "relu": "max(x, 0), however it is written",
    "elementwise": "a function of one tensor, value by value, composed of any number of steps: gelu, x * sigmoid(x)",
    "linear": "linear in the data: sums, reshapes, means, gathers, products with constants",
    "affine": "a product or convolution with constant weights, and constants that scale or shift its output",
    "activated": "an affine operation and an elementwise function of what it gives, as one of two steps",
    "mul": "a product of two data tensors",
    "matmul": "a matrix product of two data tensors",
    "conv": "a convolution of two data tensors",
    "div": "a quotient of two data tensors",
    "softmax": "along the axis params['axis']",
    "log_softmax": "along the axis params['axis']",
    "logsumexp": "along the axis params['axis']",
    "max_pool": "maxima over windows",
    "max": "maxima along axes or of two tensors",
    "min": "minima, likewise",
    "select": "a choice by a condition on the data",
    "stop_gradient": "the identity, whose derivative is zero",
    "discrete": "comparisons and whole numbers, which have no derivative",
    "opaque": "anything else",
}
"""The canonical kinds, one table for all frameworks; composites are recognised at this granularity."""

POWERS: Mapping[str, float] = {"square": 2.0, "sqrt": 0.5, "rsqrt": -0.5, "reciprocal": -1.0, "inv": -1.0}
"""Elementwise operations that raise their input to a power, by their names in lower case."""


class OpCall(ABC):
    """One operation of the forward pass.

    ``data`` says which inputs depend on the attributed input. ``ref_inputs`` and ``ref_outputs`` are the same
    operation's values for the reference input, None where no reference was run. ``params["kinked"]`` says of an
    elementwise operation that its derivative jumps somewhere, ``params["power"]`` which of ``POWERS`` it is, None or no
    such entry where it is another function. Of an affine one ``params["conv"]`` says whether it
    convolves, ``params["bias"]`` and ``params["scale"]`` which inputs shift and scale its output; of a product or
    quotient ``params["statistic"]`` says which of its data is a statistic of a normalisation.
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
    early: tuple[int, ...] = ()
    """Those of ``data`` that no affine operation comes before, on any way from the attributed input.

    A matcher or rule that asks for it, or for ``last``, has an attribute ``places = True``, as ``is_first`` has.
    """
    present: Mapping[int, Tensor] = MappingProxyType({})
    """For those of ``early`` that hold zeros which the model padded with: a mask, zero there and one elsewhere.

    Rules that share relevance among places, whatever is there, leave out the padding; a convolution's own is no input.
    """
    non_negative: bool = False
    """Of an affine operation, whether it is known that no number of its data is below zero, as behind a relu."""
    last: bool = True
    """Of an affine operation, whether no other one comes after it, on any way to the score."""
    layers: tuple[str, ...] = ()
    """The layers it runs in, outermost first, among those that the rule set names."""

    @property
    def steps(self) -> tuple[OpCall, ...]:
        """The affine operation and the elementwise one of which an ``"activated"`` one consists, at their inputs."""
        return ()

    @abstractmethod
    def call(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The operation at other inputs."""

    @abstractmethod
    def vjp(self, inputs: Sequence[Tensor], cotangents: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
        """The operation's own pullback at ``inputs``: one cotangent per input, None for inputs without data."""

    def linearized(self, inputs: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], Pullback]:
        """``call`` and ``vjp`` at the same inputs, which together may cost less than one after the other."""
        return self.call(*inputs), lambda cotangents: self.vjp(inputs, cotangents)


Pullback = Callable[[Sequence[Tensor]], tuple[Tensor | None, ...]]
Rule = Callable[[Ops, OpCall, Sequence[Tensor]], Sequence[Tensor | None]]
Matcher = Callable[[OpCall], bool]


@dataclass(frozen=True)
class Kind:
    """Matches operations of some canonical kinds."""

    kinds: tuple[str, ...]

    def __call__(self, op: OpCall) -> bool:
        return op.kind in self.kinds


def kind_is(*kinds: str) -> Matcher:
    """Match operations by canonical kind."""
    return Kind(kinds)


@dataclass(frozen=True)
class Inside:
    """Matches operations that run in one of some layers, at any depth."""

    layers: tuple[str, ...]

    def __call__(self, op: OpCall) -> bool:
        return any(layer in op.layers for layer in self.layers)


def inside(*layers: str) -> Matcher:
    """Match operations by the layers that they run in; ``"relu:1"`` is the second call of a reused one."""
    return Inside(layers)


@dataclass(frozen=True)
class First:
    """Matches the first affine operations: the attributed input comes to them past no other one."""

    places: ClassVar[bool] = True

    def __call__(self, op: OpCall) -> bool:
        return op.kind == "affine" and op.early == op.data


is_first: Matcher = First()


@dataclass(frozen=True)
class Last:
    """Matches the last affine operations: what they give comes to the score past no other one."""

    places: ClassVar[bool] = True

    def __call__(self, op: OpCall) -> bool:
        return op.kind == "affine" and op.last


is_last: Matcher = Last()


@dataclass(frozen=True)
class AllOf:
    """Matches what all of some matchers accept."""

    matchers: tuple[Matcher, ...]

    def __call__(self, op: OpCall) -> bool:
        return all(matches(op) for matches in self.matchers)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that they name."""
        return tuple(kind for m in self.matchers for kind in getattr(m, "kinds", ()))

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that they name."""
        return layers_of(self.matchers)

    @property
    def places(self) -> bool:
        """Whether some of them ask for ``op.early`` or ``op.last``."""
        return ask_places(self.matchers)


def all_of(*matchers: Matcher) -> Matcher:
    """Match what all of them accept, such as ``all_of(kind_is("affine"), inside("head"))``."""
    return AllOf(matchers)


def layers_of(matchers: Iterable[Matcher]) -> tuple[str, ...]:
    """The layers that matchers name."""
    return tuple(dict.fromkeys(layer for m in matchers for layer in getattr(m, "layers", ())))


def ask_places(parts: Iterable[Matcher | Rule]) -> bool:
    """Whether matchers or rules ask for ``op.early`` or ``op.last``, which a backend may have to look for."""
    return any(getattr(part, "places", False) for part in parts)


class Reference(NamedTuple):
    """What runs beside the inputs: other inputs in the same structure, and the edits made there."""

    inputs: Any
    edits: Mapping[str, Callable[[Tensor], Tensor]] | None = None


@dataclass(frozen=True)
class RuleSet:
    """An ordered list of (matcher, rule); ``name`` identifies it, in reports.

    ``fallback`` is for operations that no matcher accepts and whose kind is not ``exact``, linear that is; without
    one they keep their own derivative. ``strict`` refuses models that have such operations. ``reference`` says that
    the rules compare with a reference that runs beside the input.
    """

    name: str
    rules: tuple[tuple[Matcher, Rule], ...]
    fallback: Rule | None = None
    exact: tuple[str, ...] = ("linear", "affine", "discrete")
    reference: bool = False
    strict: bool = False

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that its matchers name."""
        return layers_of(matcher for matcher, _ in self.rules)

    @property
    def places(self) -> bool:
        """Whether its matchers or rules ask for ``op.early`` or ``op.last``."""
        return ask_places(part for pair in self.rules for part in pair)

    def _that_may_match(self, kind: str) -> tuple[tuple[Matcher, Rule], ...]:
        """The rules but for those of other kinds: most operations of a model are linear and have none."""
        if kind not in self._by_kind:
            self._by_kind[kind] = tuple(
                pair for pair in self.rules if not isinstance(pair[0], Kind) or kind in pair[0].kinds
            )
        return self._by_kind[kind]

    @cached_property
    def _by_kind(self) -> dict[str, tuple[tuple[Matcher, Rule], ...]]:
        return {}

    def find(self, op: OpCall) -> Rule | None:
        """The rule for the operation; None where it keeps its own derivative."""
        # two operations as one are for who names that kind; without, each of the two goes by its own rule
        together = op.kind == "activated"
        for matches, rule in self._that_may_match(op.kind):
            if (not together or op.kind in getattr(matches, "kinds", ())) and matches(op):
                return rule
        return None if together or op.kind in self.exact else self.fallback

    def find_early(self, op: OpCall) -> tuple[Rule | None, ...]:
        """The rule, or the two of which ``op.last`` will decide: as a last operation, and as another."""
        found = self.find(op)
        if op.kind != "affine" or not self.places:
            return (found,)
        op.last = False
        other = self.find(op)
        op.last = True
        return (found,) if found is other else (found, other)


@dataclass
class Coverage:
    """Which operations were seen on the path from input to output, counted by what became of them."""

    ruled: Counter[str] = field(default_factory=Counter)
    fallback: Counter[str] = field(default_factory=Counter)
    plain: Counter[str] = field(default_factory=Counter)

    def count(self, rules: RuleSet, name: str, kind: str, rule: Rule | None) -> None:
        """Enter one operation; under strict rules, what keeps its derivative and is not linear counts as uncovered."""
        uncovered = rule is None and rules.strict and kind not in rules.exact
        into = self.fallback if uncovered or (rule is not None and rule is rules.fallback) else self.ruled
        # a rule that only hands things on is none, and says so
        is_plain = (rule is None and not uncovered) or not getattr(rule, "counts", True)
        (self.plain if is_plain else into)[name] += 1

    def require(self, rules: RuleSet) -> None:
        """Raise unless some rule was applied: a rule method never returns the plain gradient silently."""
        if rules.strict and self.fallback:
            raise CoverageError(
                f"backward rules {rules.name!r} with strict=True",
                received=f"operations without a rule of their own: {_listed(self.fallback)}",
                valid="a model that the rules cover, rules for these operations, or strict=False",
            )
        if not self.ruled and rules.fallback is None:
            raise CoverageError(
                f"backward rules {rules.name!r}",
                received=f"a model in which none applies ({_listed(self.plain) or 'no operation at all'})",
                valid="a model with an operation that the rules cover",
            )

    def replace(self, other: Coverage) -> None:
        """Become what ``other`` is: one forward pass is reported, not the sum over chunks."""
        for mine, theirs in zip(self.counts(), other.counts(), strict=True):
            mine.clear()
            mine.update(theirs)

    def counts(self) -> tuple[Counter[str], ...]:
        """What had a rule, what went by the fallback, and what kept its derivative."""
        return self.ruled, self.fallback, self.plain

    def summary(self) -> dict[str, dict[str, int]]:
        """Counts per operation name, for the provenance."""
        return {"ruled": dict(self.ruled), "fallback": dict(self.fallback), "plain": dict(self.plain)}


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} ({n}x)" if n > 1 else name for name, n in sorted(counts.items()))
