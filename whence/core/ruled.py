"""A user's model under backward rules."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

from whence.core.model import Model
from whence.core.ops import Tensor
from whence.core.rule import RuleSet


class RuledModel(Model):
    """The model ``base`` with the derivatives of ``rules``; in all else it is ``base``. A backend adds ``run``."""

    def __init__(self, base: Any, rules: RuleSet) -> None:
        self.base, self.rules = base, rules
        self.target, self.options, self.store = base.target, base.options, base.store

    @property
    def key(self) -> Hashable:
        return ("rules", self.rules, self.base.key)

    @property
    def default_layout(self) -> str | None:  # type: ignore[override]
        layout: str | None = self.base.default_layout
        return layout

    def with_options(self, **changes: Any) -> Model:
        return type(self)(self.base.with_options(**changes), self.rules)

    def layers(self) -> tuple[str, ...]:
        names: tuple[str, ...] = self.base.layers()
        return names

    def before_activation(self, layer: str) -> str:
        point: str = self.base.before_activation(layer)
        return point

    def place(self, value: Any) -> Tensor:
        return self.base.place(value)

    def check(self, names: Sequence[str], leaves: Sequence[Tensor]) -> None:
        self.base.check(names, leaves)

    @contextmanager
    def hold(self) -> Iterator[Self]:
        with self.base.hold():
            yield self
