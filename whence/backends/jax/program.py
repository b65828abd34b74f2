"""A traced forward pass as a flat list of steps that can be run again, traced or not, with some steps replaced.

Nested calls are inlined, so that a step's neighbours can be seen wherever they were written. What marks a layer is a
``name`` operation, JAX's own ``checkpoint_name``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from whence.backends.jax.composites import Composites, Folded
from whence.backends.jax.kinds import BODIES, BOUNDARIES, INLINED, RECOMPUTED, UNIFORM, VALUE_BY_VALUE, kind_of
from whence.backends.jax.steps import Slot, Step
from whence.core.ops import Tensor
from whence.core.rule import Rule
from whence.core.signs import Signs
from whence.core.statistics import Statistics

OnMark = Callable[[str, Tensor], Tensor]
OnRuled = Callable[[Step, Sequence[Tensor], "Sequence[Tensor] | None", "Sequence[Tensor] | None"], Sequence[Tensor]]
"""``on_ruled(step, inputs, inputs of the reference, outputs of the reference)``, the latter two None without one."""


class RuleOf(NamedTuple):
    """Which rule an operation has; ``complete`` where every operation that is not linear has one.

    ``layers`` are those that rules ask about, whose calls are scopes by their number.
    """

    find: Callable[[Step], Rule | None]
    complete: bool = False
    layers: tuple[str, ...] = ()


SCOPE = "whence.layer."
"""Begins the name of a layer's scope, its number follows."""


class Beside(NamedTuple):
    """A reference that runs beside the arguments, and what replaces its marked values."""

    args: Sequence[Tensor]
    on_mark: OnMark | None = None


@dataclass
class Program:
    """Steps in order; ``constants`` are values by slot that no step writes."""

    inputs: tuple[Slot, ...] = ()
    outputs: tuple[Slot, ...] = ()
    steps: list[Step] = field(default_factory=list)
    constants: dict[Slot, Any] = field(default_factory=dict)
    data: frozenset[Slot] = frozenset()
    late: frozenset[Slot] = frozenset()
    """Values that an affine operation comes before."""
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
        return self.run_beside(args, on_mark, on_ruled, None)[0]

    def run_beside(
        self, args: Sequence[Tensor], on_mark: OnMark | None, on_ruled: OnRuled | None, beside: Beside | None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """``run``, and the outputs for a reference; what does not depend on the data is run once."""
        values = {**self.constants, **dict(zip(self.inputs, args, strict=True))}
        given0 = () if beside is None else zip(self.inputs, beside.args, strict=True)
        values0 = {slot: x for slot, x in given0 if slot in self.data}
        for step in self.steps:
            xs = [values[slot] for slot in step.inputs]
            differs = beside is not None and any(slot in values0 for slot in step.inputs)
            xs0 = [values0.get(slot, values[slot]) for slot in step.inputs] if differs else None
            ys, ys0 = _run_step(step, xs, xs0, on_mark, on_ruled, None if beside is None else beside.on_mark)
            values.update(zip(step.outputs, ys, strict=True))
            values0.update(zip(step.outputs, ys0, strict=True) if ys0 is not None else ())
        return [values[slot] for slot in self.outputs], [values0.get(slot, values[slot]) for slot in self.outputs]


Values = Sequence[Tensor]


def _run_step(
    step: Step, xs: Values, xs0: Values | None, on_mark: OnMark | None, on_ruled: OnRuled | None,
    on_mark0: OnMark | None,
) -> tuple[Values, Values | None]:  # fmt: skip
    """Outputs, and those of the reference where it differs."""
    if step.mark is not None and on_mark is not None:
        marked0 = None if on_mark0 is None else [on_mark0(step.mark, (xs if xs0 is None else xs0)[0])]
        return [on_mark(step.mark, xs[0])], marked0
    if step.bodies:
        found: tuple[Values, Values | None] = _CONTROL[step.primitive.name](step, xs, xs0, on_ruled)
        return found
    ys0 = None if xs0 is None else step.call(*xs0)
    if step.rule is not None and on_ruled is not None:
        return on_ruled(step, xs, xs0, ys0), ys0
    return step.call(*xs), ys0


def trace(
    fn: Callable[..., Any], args: Sequence[Any], data: Sequence[bool], *, mark: Callable[[str], str | None],
    edited: Edited, rule_of: RuleOf | None = None,
) -> Program:  # fmt: skip
    """The program of ``fn(*args)``, args and output being arrays; ``data`` says which args carry the data.

    ``mark`` gives the layer of a ``name`` operation, None where it marks none.
    """
    closed = jax.make_jaxpr(lambda *xs: fn(*xs))(*args)
    return _Builder(mark, edited, rule_of).build(closed, data)


class Edited(NamedTuple):
    """Layers with an edit, which carry data on.

    Of some the output is ``replaced``, whatever came before; of some it is ``seen``, and goes on as it is.
    """

    all: frozenset[str] = frozenset()
    replaced: frozenset[str] = frozenset()
    seen: frozenset[str] = frozenset()


class _Builder:
    """Lays the equations of nested jaxprs out as the steps of one program."""

    def __init__(
        self, mark: Callable[[str], str | None], edited: Edited, rule_of: RuleOf | None, layers: tuple[str, ...] = ()
    ) -> None:
        self.mark, self.rule_of, self.layers = mark, rule_of, layers
        self.edited, self.replaced, self.seen = edited
        self.program = Program()
        self.avals: list[Any] = []
        self.data: set[Slot] = set()
        self.late: set[Slot] = set()
        """What some affine operation comes before."""
        self.uniform: dict[Slot, float] = {}
        self.composites = Composites(self.avals)
        self.statistics = Statistics()
        self.signs = Signs()

    def build(self, closed: ClosedJaxpr, data: Sequence[bool], late: Sequence[bool] = ()) -> Program:
        """The whole program; ``data`` says which inputs carry the data, ``late`` which come behind an affine one."""
        inputs = tuple(self.slot(v.aval) for v in closed.jaxpr.invars)
        self.data.update(slot for slot, carries in zip(inputs, data, strict=True) if carries)
        self.late.update(slot for slot, behind in zip(inputs, late, strict=False) if behind)
        self.program.inputs = inputs
        self.program.outputs = tuple(self.body(closed, inputs))
        self.program.data, self.program.late = frozenset(self.data), frozenset(self.late)
        self.release_clamps()
        self.drop_unread()
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

        around = self.layers
        for equation in jaxpr.eqns:
            inputs = [read(v) for v in equation.invars]
            self.layers = around + self.scopes(equation)
            slots.update(zip(equation.outvars, self.equation(equation, inputs), strict=True))
        self.layers = around
        return [read(v) for v in jaxpr.outvars]

    def scopes(self, equation: Any) -> tuple[str, ...]:
        """The layers, among those asked about, that an equation was traced in."""
        if self.rule_of is None or not self.rule_of.layers:
            return ()
        stack = str(equation.source_info.name_stack)
        return tuple(self.rule_of.layers[int(n)] for n in re.findall(re.escape(SCOPE) + r"(\d+)", stack))

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
            kind = "relu" if is_relu else "elementwise" if self.is_elementwise(equation, inputs, on_path) else None
            # a layer inside a function with a derivative of its own is not reached: the derivative goes past it
            marked = name in RECOMPUTED and any(step.mark for step in inside)
            open_ = self.rule_of is not None and self.rule_of.complete
            if kind is None and (marked or open_ or any(step.rule or step.bodies for step in inside)):
                return outputs
            del self.program.steps[start:]
            return self.step(equation, inputs, kind=kind).outputs
        return self.step(equation, inputs).outputs

    def is_elementwise(self, equation: Any, inputs: Sequence[Slot], on_path: Sequence[Step]) -> bool:
        """Whether a call with a derivative of its own is an elementwise function of one value, such as softplus."""
        data = [slot for slot in inputs if slot in self.data]
        return (
            equation.primitive.name == "custom_jvp_call"
            and len(data) == len(equation.outvars) == 1
            and self.avals[data[0]].shape == equation.outvars[0].aval.shape
            and bool(on_path)
            and all(step.name in VALUE_BY_VALUE or step.kind == "elementwise" for step in on_path)
        )

    def step(self, equation: Any, inputs: Sequence[Slot], kind: str | None = None) -> Step:
        """Append one equation as it stands."""
        name = equation.primitive.name
        outputs = tuple(self.slot(v.aval) for v in equation.outvars)
        data = tuple(i for i, slot in enumerate(inputs) if slot in self.data)
        others = [slot for i, slot in enumerate(inputs) if i not in data]
        known = self.filled_with(others[0]) if len(others) == 1 and name in (*UNIFORM, "max", "min") else None
        if name in UNIFORM and not data and known is not None:
            self.uniform[outputs[0]] = known
        early = tuple(i for i in data if inputs[i] not in self.late)
        avals = tuple(self.avals[slot] for slot in inputs)
        found = kind or kind_of(name, data, known)
        step = Step(equation.primitive, equation.params, tuple(inputs), outputs, data, found, kind or name, avals)
        step.early, step.layers = early, self.layers
        if data:
            of_data = [inputs[i] for i in data]
            self.statistics.add(name, found, of_data, outputs)
            step.statistic = self.statistics.operand(found, of_data)
        if name == "name":
            step.mark = self.mark(equation.params["name"])
            step.is_seen = step.mark in self.seen
        if data and step.mark not in self.edited:
            is_zero_pad = name == "pad" and data == (0,) and self.filled_with(inputs[1]) == 0
            self.signs.add("zero_pad" if is_zero_pad else name, found, of_data, outputs)
        if self.rule_of is not None and data:
            step.bodies = self.bodies(equation, inputs)
            wholes = self.composites.look(step)
            for whole in wholes:
                whole.early = tuple(i for i in whole.data if whole.inputs[i] not in self.late)
                whole.non_negative = self.signs.non_negative([whole.inputs[i] for i in whole.data])
                whole.layers = whole.layers or step.layers
            # a composite without a rule stays spelled out
            step = next((whole for whole in wholes if self.rule_of.find(whole) is not None), step)
            if isinstance(step, Folded):
                self.program.steps.append(step.constants)
            real = any(jnp.issubdtype(self.avals[slot].dtype, jnp.inexact) for slot in outputs)
            step.rule = self.rule_of.find(step) if real and not step.bodies and step.kind != "call" else None
        if name not in BOUNDARIES and not step.bodies and step.rule is None:
            held = [self.nested(inner, [bool(data)] * len(inner.jaxpr.invars)) for inner in _held_by(equation)]
            self.program.escaped.update(name for program in held if program.ruled or program.escaped)
        if data or step.mark in self.edited:
            self.data.update(outputs)
        self.late.update(self.behind_affine(step))
        self.program.steps.append(step)
        return step

    def behind_affine(self, step: Step) -> Iterator[Slot]:
        """Outputs that an affine operation comes before; what an edit puts in the place of a layer begins anew."""
        if step.mark in self.replaced:
            return
        whole = step.kind == "affine" or (not step.bodies and len(step.early) < len(step.data))
        for i, slot in enumerate(step.outputs):
            if whole or any(body.outputs[i] in body.late for body in step.bodies):
                yield slot

    def bodies(self, equation: Any, inputs: Sequence[Slot]) -> tuple[Program, ...]:
        """The programs inside a loop or branch, where some operation in them has a rule."""
        carries, late = [slot in self.data for slot in inputs], [slot in self.late for slot in inputs]
        params = equation.params
        if equation.primitive.name == "cond":
            found = tuple(self.nested(branch, carries[1:], late[1:]) for branch in params["branches"])
        elif equation.primitive.name == "scan":
            first, last = params["num_consts"], params["num_consts"] + params["num_carry"]
            while True:
                inner, before = self.nested(params["jaxpr"], carries, late), (carries[:], late[:])
                for i, slot in zip(range(first, last), inner.outputs, strict=False):
                    carries[i], late[i] = carries[i] or slot in inner.data, late[i] or slot in inner.late
                if (carries, late) == before:
                    break
            found = (inner,)
        else:
            found = ()
        if not any(body.ruled for body in found):
            return ()
        self.program.escaped.update(*(body.escaped for body in found))
        return found

    def nested(self, closed: ClosedJaxpr, carries: Sequence[bool], late: Sequence[bool] = ()) -> Program:
        def unreached(name: str) -> None:
            # what is marked inside a loop has no single value; its name is made known
            self.mark(name)

        return _Builder(unreached, Edited(), self.rule_of, self.layers).build(closed, carries, late)

    def drop_unread(self) -> None:
        """Take out what composites have replaced."""
        read, kept = set(self.program.outputs), []
        for step in reversed(self.program.steps):
            if step.mark is not None or read & set(step.outputs) or not step.outputs:
                read.update(step.inputs)
                kept.append(step)
        self.program.steps = kept[::-1]

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
                step.rule = self.rule_of.find(step) if self.rule_of is not None else None


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


def _run_cond(step: Step, xs: Values, xs0: Values | None, on_ruled: OnRuled | None) -> tuple[Values, Values | None]:
    def branch(body: Program) -> Callable[[Values, Values | None], tuple[Values, Values]]:
        return lambda args, args0: body.run_beside(args, None, on_ruled, None if args0 is None else Beside(args0))

    # the input decides for the reference, too: the derivative is that of its branch
    branches = [branch(body) for body in step.bodies]
    ys, ys0 = jax.lax.switch(xs[0], branches, tuple(xs[1:]), None if xs0 is None else tuple(xs0[1:]))
    return ys, None if xs0 is None else ys0


def _run_scan(step: Step, xs: Values, xs0: Values | None, on_ruled: OnRuled | None) -> tuple[Values, Values | None]:
    params, (body,) = step.params, step.bodies
    first, last = params["num_consts"], params["num_consts"] + params["num_carry"]

    def turn(carry: Any, x: Any) -> tuple[Any, Any]:
        args, args0 = ([*fixed, *c, *v] for fixed, c, v in zip((xs[:first], consts0), carry, x, strict=True))
        found = body.run_beside(args, None, on_ruled, Beside(args0) if xs0 is not None else None)
        return tuple(tuple(f[: last - first]) for f in found), tuple(tuple(f[last - first :]) for f in found)

    beside = xs if xs0 is None else xs0
    consts0 = beside[:first]
    carry, stacked = jax.lax.scan(
        turn,
        (tuple(xs[first:last]), tuple(beside[first:last])),
        (tuple(xs[last:]), tuple(beside[last:])),
        length=params["length"],
        reverse=params["reverse"],
        unroll=params["unroll"],
    )
    ys, ys0 = ((*c, *v) for c, v in zip(carry, stacked, strict=True))
    return ys, None if xs0 is None else ys0


_CONTROL: dict[str, Callable[..., Any]] = {"cond": _run_cond, "scan": _run_scan}
