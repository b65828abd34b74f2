"""A traced forward pass as a flat list of steps that can be run again, traced or not, with some steps replaced.

Nested calls are inlined, so that a step's neighbours can be seen wherever they were written. What marks a layer is a
``name`` operation, JAX's own ``checkpoint_name``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from whence.backends.jax.kinds import BODIES, BOUNDARIES, INLINED, RECOMPUTED, UNIFORM, kind_of
from whence.core.ops import Tensor
from whence.core.rule import Rule

Slot = int
"""Where a value is kept while a program runs."""
OnMark = Callable[[str, Tensor], Tensor]
OnRuled = Callable[["Step", Sequence[Tensor]], Sequence[Tensor]]


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
    mark: str | None = None
    rule: Rule | None = None
    bodies: tuple[Program, ...] = ()

    def call(self, *xs: Tensor) -> tuple[Tensor, ...]:
        """The operation at these inputs."""
        bound = self.primitive.get_bind_params(self.params)
        # jax before 0.7 gives a pair of functions and parameters
        functions, params = bound if isinstance(bound, tuple) else ((), bound)
        found = self.primitive.bind(*functions, *xs, **params)
        return tuple(found) if self.primitive.multiple_results else (found,)


@dataclass
class Program:
    """Steps in order; ``constants`` are values by slot that no step writes."""

    inputs: tuple[Slot, ...] = ()
    outputs: tuple[Slot, ...] = ()
    steps: list[Step] = field(default_factory=list)
    constants: dict[Slot, Any] = field(default_factory=dict)
    data: frozenset[Slot] = frozenset()
    escaped: set[str] = field(default_factory=set)
    """Operations that hold others with a rule where they cannot be replaced, in a kernel say."""

    @property
    def ruled(self) -> bool:
        """Whether some operation, nested ones included, has a rule."""
        return any(step.rule or any(body.ruled for body in step.bodies) for step in self.steps)

    def on_path(self) -> Iterator[Step]:
        """Operations that depend on the data, the nested ones in the place of their loop or branch."""
        for step in self.steps:
            for body in step.bodies:
                yield from body.on_path()
            if step.data and not step.bodies and step.mark is None:
                yield step

    @property
    def marks(self) -> set[str]:
        """Names of the marks that a run reaches, those inside loops and branches not included."""
        return {step.mark for step in self.steps if step.mark is not None}

    def run(
        self, args: Sequence[Tensor], on_mark: OnMark | None = None, on_ruled: OnRuled | None = None
    ) -> list[Tensor]:
        """The outputs for these arguments; ``on_mark`` replaces marked values, ``on_ruled`` runs steps with rules."""
        values = {**self.constants, **dict(zip(self.inputs, args, strict=True))}
        for step in self.steps:
            xs = [values[slot] for slot in step.inputs]
            if step.mark is not None and on_mark is not None:
                ys: Sequence[Tensor] = [on_mark(step.mark, xs[0])]
            elif step.rule is not None and on_ruled is not None:
                ys = on_ruled(step, xs)
            elif step.bodies:
                ys = _CONTROL[step.primitive.name](step, xs, on_ruled)
            else:
                ys = step.call(*xs)
            values.update(zip(step.outputs, ys, strict=True))
        return [values[slot] for slot in self.outputs]


def trace(
    fn: Callable[..., Any], args: Sequence[Any], data: Sequence[bool], *, mark: Callable[[str], str | None],
    edited: frozenset[str] = frozenset(), rule_of: Callable[[Step], Rule | None] | None = None,
) -> Program:  # fmt: skip
    """The program of ``fn(*args)``, args and output being arrays; ``data`` says which args carry the data.

    ``mark`` gives the layer of a ``name`` operation, None where it marks none; an ``edited`` layer carries data on.
    """
    closed = jax.make_jaxpr(lambda *xs: fn(*xs))(*args)
    return _Builder(mark, edited, rule_of).build(closed, data)


class _Builder:
    """Lays the equations of nested jaxprs out as the steps of one program."""

    def __init__(
        self, mark: Callable[[str], str | None], edited: frozenset[str], rule_of: Callable[[Step], Rule | None] | None
    ) -> None:
        self.mark, self.edited, self.rule_of = mark, edited, rule_of
        self.program = Program()
        self.avals: list[Any] = []
        self.data: set[Slot] = set()
        self.uniform: dict[Slot, float] = {}

    def build(self, closed: ClosedJaxpr, data: Sequence[bool]) -> Program:
        """The whole program; ``data`` says which inputs carry the data."""
        inputs = tuple(self.slot(v.aval) for v in closed.jaxpr.invars)
        self.data.update(slot for slot, carries in zip(inputs, data, strict=True) if carries)
        self.program.inputs = inputs
        self.program.outputs = tuple(self.body(closed, inputs))
        self.program.data = frozenset(self.data)
        self.release_clamps()
        return self.program

    def slot(self, aval: Any) -> Slot:
        self.avals.append(aval)
        return len(self.avals) - 1

    def constant(self, value: Any, aval: Any) -> Slot:
        slot = self.slot(aval)
        self.program.constants[slot] = value
        return slot

    def filled_with(self, slot: Slot) -> float | None:
        """The number that fills a constant."""
        value = self.program.constants.get(slot)
        if value is None or isinstance(value, jax.core.Tracer) or not jnp.issubdtype(value.dtype, jnp.number):
            return self.uniform.get(slot)
        numbers = np.asarray(value).reshape(-1)
        return float(numbers[0].real) if numbers.size and bool((numbers == numbers[0]).all()) else None

    def body(self, closed: ClosedJaxpr, args: Sequence[Slot]) -> list[Slot]:
        """Append the steps of a jaxpr; its outputs."""
        jaxpr = closed.jaxpr
        slots = dict(zip(jaxpr.invars, args, strict=True))
        slots.update((v, self.constant(value, v.aval)) for v, value in zip(jaxpr.constvars, closed.consts, strict=True))

        def read(v: Any) -> Slot:
            # a literal may be a Python number, whose type the operation would have to guess
            return self.constant(np.asarray(v.val, v.aval.dtype), v.aval) if isinstance(v, Literal) else slots[v]

        for equation in jaxpr.eqns:
            inputs = [read(v) for v in equation.invars]
            slots.update(zip(equation.outvars, self.equation(equation, inputs), strict=True))
        return [read(v) for v in jaxpr.outvars]

    def equation(self, equation: Any, inputs: Sequence[Slot]) -> Sequence[Slot]:
        """Append what one equation becomes; its outputs."""
        name, inner = equation.primitive.name, _body_of(equation)
        if inner is not None and name in INLINED:
            return self.body(inner, inputs)
        if inner is not None and name in BOUNDARIES:
            start = len(self.program.steps)
            outputs = self.body(inner, inputs)
            inside = self.program.steps[start:]
            on_path = [step for step in inside if step.data]
            is_relu = len(on_path) == 1 and on_path[0].kind == "relu" and on_path[0].outputs == tuple(outputs)
            # a layer inside a function with a derivative of its own is not reached: the derivative goes past it
            marked = name in RECOMPUTED and any(step.mark for step in inside)
            if not is_relu and (marked or any(step.rule or step.bodies for step in inside)):
                return outputs
            del self.program.steps[start:]
            return self.step(equation, inputs, kind="relu" if is_relu else None).outputs
        return self.step(equation, inputs).outputs

    def step(self, equation: Any, inputs: Sequence[Slot], kind: str | None = None) -> Step:
        """Append one equation as it stands."""
        name = equation.primitive.name
        outputs = tuple(self.slot(v.aval) for v in equation.outvars)
        data = tuple(i for i, slot in enumerate(inputs) if slot in self.data)
        others = [slot for i, slot in enumerate(inputs) if i not in data]
        known = self.filled_with(others[0]) if len(others) == 1 and name in (*UNIFORM, "max", "min") else None
        if name in UNIFORM and not data and known is not None:
            self.uniform[outputs[0]] = known
        avals = tuple(self.avals[slot] for slot in inputs)
        found = kind or kind_of(name, len(data), known)
        step = Step(equation.primitive, equation.params, tuple(inputs), outputs, data, found, kind or name, avals)
        if name == "name":
            step.mark = self.mark(equation.params["name"])
        if self.rule_of is not None and data:
            step.bodies = self.bodies(equation, inputs)
            step.rule = None if step.bodies else self.rule_of(step)
        if name not in BOUNDARIES and not step.bodies and step.rule is None:
            held = [self.nested(inner, [bool(data)] * len(inner.jaxpr.invars)) for inner in _held_by(equation)]
            self.program.escaped.update(name for program in held if program.ruled or program.escaped)
        if data or step.mark in self.edited:
            self.data.update(outputs)
        self.program.steps.append(step)
        return step

    def bodies(self, equation: Any, inputs: Sequence[Slot]) -> tuple[Program, ...]:
        """The programs inside a loop or branch, where some operation in them has a rule."""
        carries = [slot in self.data for slot in inputs]
        params = equation.params
        if equation.primitive.name == "cond":
            found = tuple(self.nested(branch, carries[1:]) for branch in params["branches"])
        elif equation.primitive.name == "scan":
            first, last = params["num_consts"], params["num_consts"] + params["num_carry"]
            while True:
                inner = self.nested(params["jaxpr"], carries)
                after = [slot in inner.data for slot in inner.outputs[: params["num_carry"]]]
                joined = [a or b for a, b in zip(carries[first:last], after, strict=True)]
                if joined == carries[first:last]:
                    break
                carries[first:last] = joined
            found = (inner,)
        else:
            found = ()
        if not any(body.ruled for body in found):
            return ()
        self.program.escaped.update(*(body.escaped for body in found))
        return found

    def nested(self, closed: ClosedJaxpr, carries: Sequence[bool]) -> Program:
        def unreached(name: str) -> None:
            # what is marked inside a loop has no single value; its name is made known
            self.mark(name)

        return _Builder(unreached, frozenset(), self.rule_of).build(closed, carries)

    def release_clamps(self) -> None:
        """A maximum with zero whose only use is a minimum with a number is a clamp, such as relu6, and no relu."""
        readers: dict[Slot, list[Step]] = {}
        for step in self.program.steps:
            for slot in step.inputs:
                readers.setdefault(slot, []).append(step)
        for step in self.program.steps:
            after = readers.get(step.outputs[0], []) if step.name == "max" and step.kind == "relu" else []
            if len(after) == 1 and after[0].name == "min" and after[0].kind == "elementwise":
                step.kind = "elementwise"
                step.rule = self.rule_of(step) if self.rule_of is not None else None


def _body_of(equation: Any) -> ClosedJaxpr | None:
    """What a call calls."""
    return next((_closed(equation.params[key]) for key in BODIES if key in equation.params), None)


def _held_by(equation: Any) -> Iterator[ClosedJaxpr]:
    """All that an operation holds to run it, a loop's body or a kernel."""
    for value in equation.params.values():
        for inner in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(inner, (ClosedJaxpr, Jaxpr)):
                yield _closed(inner)


def _closed(jaxpr: Any) -> ClosedJaxpr:
    return jaxpr if isinstance(jaxpr, ClosedJaxpr) else ClosedJaxpr(jaxpr, ())


def _run_cond(step: Step, xs: Sequence[Tensor], on_ruled: OnRuled | None) -> Iterable[Tensor]:
    branches = [lambda *args, body=body: tuple(body.run(args, None, on_ruled)) for body in step.bodies]
    chosen: Iterable[Tensor] = jax.lax.switch(xs[0], branches, *xs[1:])
    return chosen


def _run_scan(step: Step, xs: Sequence[Tensor], on_ruled: OnRuled | None) -> Iterable[Tensor]:
    params, (body,) = step.params, step.bodies
    first, last = params["num_consts"], params["num_consts"] + params["num_carry"]

    def turn(carry: Sequence[Tensor], x: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        found = body.run([*xs[:first], *carry, *x], None, on_ruled)
        return tuple(found[: last - first]), tuple(found[last - first :])

    carry, stacked = jax.lax.scan(
        turn,
        tuple(xs[first:last]),
        tuple(xs[last:]),
        length=params["length"],
        reverse=params["reverse"],
        unroll=params["unroll"],
    )
    return (*carry, *stacked)


_CONTROL: dict[str, Callable[[Step, Sequence[Tensor], OnRuled | None], Any]] = {"cond": _run_cond, "scan": _run_scan}
