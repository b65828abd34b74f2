"""Backward rules on operations: the traced program runs with chosen steps inside ``jax.custom_vjp``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import jax
import jax.numpy as jnp

from whence.backends.jax.model import Args, JaxModel, Kwargs
from whence.backends.jax.ops import ops
from whence.backends.jax.program import Program, Step
from whence.backends.jax.static import Static
from whence.core.errors import CapabilityError, CoverageError
from whence.core.layers import LayerCalls
from whence.core.model import Edit
from whence.core.ops import Tensor
from whence.core.rule import Coverage, OpCall, Rule, RuleSet


@dataclass
class JaxOp(OpCall):
    """One step of the program at the values it met; shapes and types alone before it has run."""

    step: Step
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        self.kind, self.name, self.params, self.data = self.step.kind, self.step.name, self.step.params, self.step.data

    def call(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return self.step.call(*inputs)

    def vjp(self, inputs: Sequence[Tensor], cotangents: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
        real = [i for i in self.data if jnp.issubdtype(inputs[i].dtype, jnp.inexact)]

        def on_data(*data: Tensor) -> tuple[Tensor, ...]:
            full = list(inputs)
            for i, x in zip(real, data, strict=True):
                full[i] = x
            return self.step.call(*full)

        pulled = jax.vjp(on_data, *(inputs[i] for i in real))[1](tuple(cotangents))
        found = dict(zip(real, pulled, strict=True))
        return tuple(found.get(i) for i in range(len(inputs)))


class InterceptedModel(JaxModel):
    """A model whose derivatives are those of a rule set."""

    def __init__(self, base: JaxModel, rules: RuleSet, reference: Any = None) -> None:
        if reference is not None:
            raise CapabilityError(
                "a reference beside the input", received=f"rules {rules.name!r}", valid="rules of the input alone"
            )
        self.base, self.rules = base, rules
        self.target, self.options, self.store = base.target, base.options, base.store
        self.default_layout = base.default_layout
        self._met = Coverage()  # of the last forward pass that was differentiated

    @property
    def key(self) -> Any:
        return ("intercept", self.rules, self.base.key)

    @property
    def coverage(self) -> Coverage:
        found: Coverage = self.store.get((self.key, "coverage"), Coverage)
        return found

    def run_in(
        self,
        static: Static,
        arrays: Any,
        inputs: Any,
        *,
        edits: Mapping[str, Edit] | None = None,
        taps: Sequence[str] = (),
    ) -> tuple[Tensor, dict[str, Tensor]]:
        calls = LayerCalls(edits, taps)
        met: dict[int, str] = {}

        def rule_of(step: Step) -> Rule | None:
            return self.rules.find(JaxOp(step, step.avals))

        program, args = self.base.program(static, arrays, inputs, calls, rule_of)
        output = program.run(args, calls, lambda step, xs: self._ruled(step, xs, met))[0]
        tapped = calls.finish(tuple(dict.fromkeys((*self.layers(), *program.marks))))
        return self._audited(output, program, met), tapped

    def _ruled(self, step: Step, xs: Sequence[Tensor], met: dict[int, str]) -> Sequence[Tensor]:
        """One step with its rule; ``met`` is told when the step is differentiated."""
        rule = step.rule

        @jax.custom_vjp
        def operation(*xs: Tensor) -> tuple[Tensor, ...]:
            return step.call(*xs)

        def forward(*xs: Tensor) -> tuple[tuple[Tensor, ...], Any]:
            met[id(step)] = step.name
            ys = step.call(*xs)
            return ys, (xs, ys)

        def backward(saved: Any, cotangents: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
            xs, ys = saved
            assert rule is not None
            found = rule(ops, JaxOp(step, xs, ys), cotangents)
            return tuple(g if g is None else g.astype(x.dtype) for g, x in zip(found, xs, strict=True))

        operation.defvjp(forward, backward)
        return tuple(operation(*xs))

    def _audited(self, output: Tensor, program: Program, met: dict[int, str]) -> Tensor:
        """The output, checked when it is differentiated: some rule must have been on the way to it."""

        @jax.custom_vjp
        def audited(y: Tensor) -> Tensor:
            return y

        def forward(y: Tensor) -> tuple[Tensor, None]:
            self._met.clear()
            self._met.ruled.update(met.values())
            self._met.plain.update(step.name for step in program.on_path() if step.rule is None)
            self.after_call()
            if program.escaped:
                raise CoverageError(
                    f"backward rules {self.rules.name!r}",
                    received=f"operations that escaped, inside {', '.join(sorted(program.escaped))}",
                    valid="a model that uses them outside of custom kernels and compiled regions",
                )
            self._met.require(self.rules)
            return y, None

        audited.defvjp(forward, lambda _, cotangent: (cotangent,))
        return audited(output)

    def after_call(self) -> None:
        # compiled code does not come by here again: what its trace met is told after each of its calls
        if self._met.ruled:
            coverage = self.coverage
            coverage.clear()
            coverage.ruled.update(self._met.ruled)
            coverage.plain.update(self._met.plain)

    def again(self) -> Callable[[], InterceptedModel]:
        base, rules, met = self.base.again(), self.rules, Coverage()

        def bound() -> InterceptedModel:
            model = InterceptedModel(base(), rules)
            model._met = met
            return model

        return bound

    def with_options(self, **changes: Any) -> InterceptedModel:
        base = self.base.with_options(**changes)
        assert isinstance(base, JaxModel)
        return InterceptedModel(base, self.rules)

    # -- the rest is the user's model ----------------------------------------------------------------------
    def read_state(self) -> tuple[Static, Any]:
        return self.base.state()

    def call(self, static: Static, arrays: Any, args: Args, kwargs: Kwargs, calls: LayerCalls) -> Any:
        return self.base.call(static, arrays, args, kwargs, calls)

    def layers(self) -> tuple[str, ...]:
        return self.base.layers()

    def place(self, value: Any) -> Tensor:
        return self.base.place(value)

    def check(self, names: Sequence[str], leaves: Sequence[Tensor]) -> None:
        self.base.check(names, leaves)

    @contextmanager
    def hold(self) -> Iterator[Self]:
        with self.base.hold():
            yield self
