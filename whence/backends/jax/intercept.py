"""Backward rules on operations: the traced program runs with chosen steps inside ``jax.custom_vjp``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from whence.backends.jax.kinds import KINKED, PADS
from whence.backends.jax.last import tell_last
from whence.backends.jax.model import Args, JaxModel, Kwargs
from whence.backends.jax.ops import ops
from whence.backends.jax.program import SCOPE, Beside, Program, RuleOf
from whence.backends.jax.static import Static
from whence.backends.jax.steps import Step
from whence.core.errors import CoverageError
from whence.core.layers import LayerCalls, Seen, Within, split_call
from whence.core.model import Edit
from whence.core.ops import Tensor
from whence.core.padding import Padding
from whence.core.rule import POWERS, Coverage, OpCall, Reference, Rule, RuleSet
from whence.core.ruled import RuledModel


@dataclass
class JaxOp(OpCall):
    """One step of the program at the values it met; shapes and types alone before it has run."""

    step: Step
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...] = ()
    ref_inputs: tuple[Tensor, ...] | None = None
    ref_outputs: tuple[Tensor, ...] | None = None
    present: Mapping[int, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.kind, self.name, self.data = self.step.kind, self.step.name, self.step.data
        self.early, self.last, self.layers = self.step.early, self.step.last, self.step.layers
        self.non_negative = self.step.non_negative
        known = {"kinked": self.step.name in KINKED, "conv": self.step.name.startswith("conv"), "bias": None,
                 "statistic": self.step.statistic, "power": POWERS.get(self.step.name)}  # fmt: skip
        self.params = {**known, **self.step.params}

    @property
    def steps(self) -> tuple[JaxOp, ...]:
        found = []
        values = dict(zip(self.step.inputs, self.inputs, strict=True))
        values0 = dict(zip(self.step.inputs, self.ref_inputs or self.inputs, strict=True))
        for part in self.step.parts:
            xs, xs0 = (tuple(v[slot] for slot in part.inputs) for v in (values, values0))
            found.append(JaxOp(part, xs, ref_inputs=xs0))
            values.update(zip(part.outputs, part.call(*xs), strict=True))
            values0.update(zip(part.outputs, part.call(*xs0), strict=True))
        return tuple(found)

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


class InterceptedModel(RuledModel, JaxModel):
    """A model whose derivatives are those of a rule set."""

    base: JaxModel

    def __init__(self, base: JaxModel, rules: RuleSet) -> None:
        super().__init__(base, rules)
        self._met = Coverage()  # of the last forward pass that was differentiated

    @property
    def coverage(self) -> Coverage:
        found: Coverage = self.store.get((self.key, "coverage"), Coverage)
        return found

    def run(
        self,
        inputs: Any,
        *,
        edits: Mapping[str, Edit] | None = None,
        taps: Sequence[str] = (),
        reference: Reference | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        return self.run_in(*self.state(), inputs, edits=edits, taps=taps, reference=reference)

    def run_in(
        self,
        static: Static,
        arrays: Any,
        inputs: Any,
        *,
        edits: Mapping[str, Edit] | None = None,
        taps: Sequence[str] = (),
        reference: Reference | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        calls = LayerCalls(edits, taps, Within(self.rules.layers, self._scope))
        met: dict[int, Step] = {}
        padding = Padding(ops)

        def some_rule_of(step: Step) -> Rule | None:
            return next(filter(None, self.rules.find_early(JaxOp(step, step.avals))), None)

        finding = RuleOf(some_rule_of, self.rules.fallback is not None, self.rules.layers)
        program, args = self.base.program(static, arrays, inputs, calls, finding)
        if self.rules.places:
            tell_last(program, taps, lambda step: self.rules.find(JaxOp(step, step.avals)))

        def on_ruled(step: Step, xs: Any, xs0: Any, ys0: Any) -> Sequence[Tensor]:
            return self._ruled(step, xs, xs0, ys0, met, padding)

        seen = {split_call(name)[0] for name, edit in calls.edits.items() if isinstance(edit, Seen)}

        def on_mark(layer: str, x: Tensor) -> Tensor:
            y: Tensor = calls(layer, x)
            if layer in seen:
                padding.hand_on(x, y)
            return y

        if reference is None:
            output = program.run(args, on_mark, on_ruled)[0]
            return self._audited(output, program, met), self._tapped(calls, program)
        calls0 = LayerCalls(reference.edits, taps)
        args0 = jax.tree_util.tree_leaves((arrays, reference.inputs))
        (output,), (output0,) = program.run_beside(args, on_mark, on_ruled, Beside(args0, calls0))
        tapped, tapped0 = self._tapped(calls, program), self._tapped(calls0, program)
        pairs = {name: (tapped[name], jax.lax.stop_gradient(tapped0[name])) for name in tapped}
        return (self._audited(output, program, met), jax.lax.stop_gradient(output0)), pairs

    def _scope(self, layer: str) -> AbstractContextManager[None]:
        scope: AbstractContextManager[None] = jax.named_scope(f"{SCOPE}{self.rules.layers.index(layer)}")
        return scope

    def _tapped(self, calls: LayerCalls, program: Program) -> dict[str, Tensor]:
        return calls.finish(lambda: tuple(dict.fromkeys((*self.layers(), *program.marks))))

    def _ruled(
        self, step: Step, xs: Any, xs0: Any, ys0: Any, met: dict[int, Step], padding: Padding
    ) -> Sequence[Tensor]:
        """One step with its rule; ``met`` is told when the step is differentiated."""
        rule, present = step.rule, padding.present(xs, step.early)

        # all that the rule reads are arguments, since a derivative that is taken in a loop may not close over them
        @jax.custom_vjp
        def operation(xs: Any, *_: Any) -> tuple[Tensor, ...]:
            return step.call(*xs)

        def forward(xs: Any, *beside: Any) -> tuple[tuple[Tensor, ...], Any]:
            met[id(step)] = step
            ys = step.call(*xs)
            return ys, (xs, ys, *beside)

        def backward(saved: Any, cotangents: Sequence[Tensor]) -> tuple[Any, None, None, None]:
            xs, ys, xs0, ys0, present = saved
            assert rule is not None
            found = rule(ops, JaxOp(step, xs, ys, xs0, ys0, present), cotangents)
            return (
                tuple(g if g is None else g.astype(x.dtype) for g, x in zip(found, xs, strict=True)), None, None, None
            )  # fmt: skip

        operation.defvjp(forward, backward)
        xs0, ys0 = (None if values is None else tuple(values) for values in (xs0, ys0))
        outputs: tuple[Tensor, ...] = operation(tuple(xs), xs0, ys0, present)
        pads = self.rules.places and step.name in PADS
        padding.follow(JaxOp(step, tuple(xs), present=present), outputs, pads=pads)
        return outputs

    def _audited(self, output: Tensor, program: Program, met: dict[int, Step]) -> Tensor:
        """The output, checked when it is differentiated: some rule must have been on the way to it."""

        @jax.custom_vjp
        def audited(y: Tensor) -> Tensor:
            return y

        def forward(y: Tensor) -> tuple[Tensor, None]:
            coverage = Coverage()
            for step in met.values():
                coverage.count(self.rules, step.name, step.kind, step.rule)
            for step in program.on_path():
                if step.rule is None and step.kind != "discrete":
                    coverage.count(self.rules, step.name, step.kind, None)
            self._met.replace(coverage)
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
        if any(self._met.counts()):
            self.coverage.replace(self._met)

    def again(self) -> Callable[[], InterceptedModel]:
        base, rules, met = self.base.again(), self.rules, Coverage()

        def bound() -> InterceptedModel:
            model = InterceptedModel(base(), rules)
            model._met = met
            return model

        return bound

    # -- the rest is the user's model ----------------------------------------------------------------------
    def read_state(self) -> tuple[Static, Any]:
        return self.base.state()

    def call(self, static: Static, arrays: Any, args: Args, kwargs: Kwargs, calls: LayerCalls) -> Any:
        return self.base.call(static, arrays, args, kwargs, calls)
