"""A model with the derivative of chosen operations replaced: its traced graph, emitted again with rules in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from types import SimpleNamespace
from typing import Any

import tensorflow as tf

from whence.backends.tensorflow.composites import Composite, Folded
from whence.backends.tensorflow.flow import Where
from whence.backends.tensorflow.gradient import pull, with_pullback
from whence.backends.tensorflow.graph import Both, Values, emit, emit_graph, has_custom_gradient
from whence.backends.tensorflow.kinds import PADS, kind_of
from whence.backends.tensorflow.marks import SCOPE, marked
from whence.backends.tensorflow.model import TensorflowModel
from whence.backends.tensorflow.ops import ops
from whence.backends.tensorflow.traced import TracedLeaf
from whence.core.ahead import Ahead
from whence.core.layers import Seen, Within
from whence.core.model import Edit, Leaf
from whence.core.ops import Tensor
from whence.core.padding import Padding
from whence.core.rule import Coverage, OpCall, Reference, Rule, RuleSet
from whence.core.ruled import RuledModel
from whence.core.tree import flatten


class GraphOp(OpCall):
    """One operation of the traced graph, or a composite of several, at the values it meets in ours."""

    def __init__(
        self, operation: Any, inputs: Sequence[Tensor], inputs0: Values | None, data: tuple[int, ...], where: Where,
        layers: Sequence[str],
    ) -> None:  # fmt: skip
        self._operation = operation
        self.early, self.last = tuple(i for i in data if not where.late[i]), Ahead.AFFINE not in where.ahead
        self.layers = tuple(layers[i] for i in where.layers)
        self.non_negative = where.non_negative
        if isinstance(operation, Composite):
            self.name, self.kind, self.params = operation.name, operation.kind, operation.params
        else:
            self.name = "IdentityN with custom gradient" if has_custom_gradient(operation) else operation.type
            self.kind, params = kind_of(operation, data)
            self.params = {**params, "statistic": where.statistic}
        self.inputs, self.data = self._given(inputs), data
        self.outputs = self.call(*self.inputs)
        if inputs0 is not None:
            self.ref_inputs = self._given(inputs0)
            self.ref_outputs = self.call(*self.ref_inputs)

    def _given(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The inputs, with scale and bias in the place of the constants that come to them."""
        if not isinstance(self._operation, Folded):
            return tuple(inputs)
        return (*inputs[: len(inputs) - len(self._operation.steps)], *self._operation.constants(inputs))

    @property
    def steps(self) -> tuple[GraphOp, ...]:
        if not isinstance(self._operation, Composite):
            return ()
        found = []
        values, values0 = (
            dict(zip((x.name for x in self._operation.inputs), xs, strict=True))
            for xs in (self.inputs, self.ref_inputs or self.inputs)
        )
        for part in self._operation.parts:
            xs, xs0 = ([v[x.name] for x in part.inputs] for v in (values, values0))
            op = GraphOp(part, xs, xs0, (0,), Where([False]), ())
            found.append(op)
            last = part.operations[-1].outputs
            values.update((x.name, y) for x, y in zip(last, op.outputs, strict=True))
            values0.update((x.name, y) for x, y in zip(last, op.ref_outputs or (), strict=True))
        return tuple(found)

    def call(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        if not isinstance(self._operation, Composite):
            return tuple(emit(self._operation, inputs))
        if isinstance(self._operation, Folded):
            z = tf.cast(_run(self._operation.product, inputs)[0], inputs[-1].dtype)
            return (z + inputs[-1] if self.params["scale"] is None else z * inputs[-2] + inputs[-1],)
        return tuple(_run(self._operation, inputs))

    def vjp(self, inputs: Sequence[Tensor], cotangents: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
        at = list(inputs)
        for i in self.data:
            at[i] = tf.identity(at[i])
        found = iter(pull(self.call(*at), [at[i] for i in self.data], cotangents))
        return tuple(next(found) if i in self.data else None for i in range(len(at)))


def _run(composite: Composite, inputs: Sequence[Tensor]) -> list[Tensor]:
    """What the last operation gives, the composite's inputs being the first of ``inputs``."""
    values = dict(zip((x.name for x in composite.inputs), inputs, strict=False))
    found: list[Tensor] = []
    for operation in composite.operations:
        found = emit(operation, [values[x.name] for x in operation.inputs])
        values.update((x.name, y) for x, y in zip(operation.outputs, found, strict=True))
    return found


class _Seen:
    """What the rules met when a leaf was traced, kept for the calls that find it compiled."""

    coverage: Coverage | None = None


class _RuledLeaf(TracedLeaf):
    def __init__(self, fn: Callable[..., Any], seen: _Seen) -> None:
        super().__init__(fn, eagerly=False)
        self.seen = seen


class InterceptedModel(RuledModel, TensorflowModel):
    """A model whose derivatives are those of a rule set."""

    base: TensorflowModel

    def __init__(self, base: TensorflowModel, rules: RuleSet, seen: _Seen | None = None) -> None:
        super().__init__(base, rules)
        self._seen = seen or _Seen()

    def run(  # type: ignore[override]
        self, inputs: Any, *, edits: Mapping[str, Edit] | None = None, taps: Sequence[str] = (),
        reference: Reference | None = None,
    ) -> tuple[Any, dict[str, Any]]:  # fmt: skip
        leaves, structure = flatten(inputs)
        leaves0 = [] if reference is None else flatten(reference.inputs)[0]
        replaced = {} if reference is None else dict(reference.edits or {})

        marks = {name: partial(marked, edit, i) for i, (name, edit) in enumerate((edits or {}).items())}

        def forward(*leaves: Tensor) -> list[Tensor]:
            within = Within(self.rules.layers, self._scope)
            output, tapped = self.base.run(structure.unflatten(leaves), edits=marks, taps=taps, within=within)
            return [output, *(tapped[name] for name in taps)]

        def emitted(*both: Tensor) -> list[Tensor]:
            own, beside = both[: len(leaves)], both[len(leaves) :]
            # with taps it is these that are explained
            ahead = [Ahead.NO_SCORE if taps else Ahead.NO_AFFINE, *(Ahead.NO_AFFINE for _ in taps)]
            return self._emit(forward, own, None if reference is None else beside, edits or {}, replaced, ahead)

        found = (
            tf.function(emitted, autograph=False)(*leaves, *leaves0)
            if tf.executing_eagerly()
            else emitted(*leaves, *leaves0)
        )
        if reference is None:
            output, *tapped = found
            return output, dict(zip(taps, tapped, strict=True))
        count = len(found) // 2
        output, *tapped = zip(found[:count], map(tf.stop_gradient, found[count:]), strict=True)
        return output, dict(zip(taps, tapped, strict=True))

    def _scope(self, layer: str) -> AbstractContextManager[Any]:
        scope: AbstractContextManager[Any] = tf.name_scope(f"{SCOPE}{self.rules.layers.index(layer)}")
        return scope

    def _emit(
        self, forward: Callable[..., list[Tensor]], leaves: Values, leaves0: Values | None,
        edits: Mapping[str, Edit], edits0: Mapping[str, Edit], ahead: Sequence[Ahead],
    ) -> list[Tensor]:  # fmt: skip
        """The forward pass on ``leaves``, and on the reference, its operations emitted into the graph in the making."""
        shapes = [tf.TensorSpec(x.shape, x.dtype) for x in leaves]
        traced = tf.function(forward, autograph=False).get_concrete_function(*shapes)
        captured = traced.captured_inputs
        data = [True] * len(leaves) + [False] * len(captured)
        coverage = Coverage()
        beside = None if leaves0 is None else [*leaves0, *captured]
        visitor = _Visitor(self.rules, coverage, edits, None if leaves0 is None else edits0)
        outputs, outputs0 = emit_graph(
            traced.graph, [*leaves, *captured], data, visitor, beside, Where([False] * len(data), ahead=ahead)
        )
        coverage.require(self.rules)
        self._seen.coverage = coverage
        return [*outputs, *(outputs0 or ())]

    @property
    def coverage(self) -> Coverage | None:
        return self._seen.coverage

    def compile(self, leaf: Leaf, key: Any) -> Callable[..., Any]:
        compiled = super().compile(leaf, key)
        assert isinstance(compiled, _RuledLeaf)
        self._seen = compiled.seen
        return compiled

    def _build(self, leaf: Leaf) -> Callable[..., Any]:
        again, rules, seen = self.base._weak(), self.rules, _Seen()
        return _RuledLeaf(lambda *tensors: leaf(InterceptedModel(again(), rules, seen).run, *tensors), seen)

    def variables(self) -> Sequence[Any]:
        return self.base.variables()


class _Visitor:
    """Emits each operation with its rule, and counts it."""

    def __init__(
        self, rules: RuleSet, coverage: Coverage, edits: Mapping[str, Edit], edits0: Mapping[str, Edit] | None
    ) -> None:
        self.rules, self.coverage, self.padding = rules, coverage, Padding(ops)
        self.edits = list(edits.values())
        self.edits0 = None if edits0 is None else [edits0.get(name) for name in edits]

    def edit(self, number: int, value: Tensor, value0: Tensor) -> Both:
        edit0 = None if self.edits0 is None else self.edits0[number]
        beside = None if self.edits0 is None else [value0 if edit0 is None else edit0(value0)]
        edited = self.edits[number](value)
        if isinstance(self.edits[number], Seen):
            self.padding.hand_on(value, edited)
        return [edited], beside

    def wants(self, composite: Composite, where: Where) -> bool:
        unseen: Any = SimpleNamespace(
            kind=composite.kind, params=composite.params, name=composite.name, data=(0,),
            early=() if where.late[0] else (0,), last=Ahead.AFFINE not in where.ahead,
            layers=tuple(self.rules.layers[i] for i in where.layers),
        )  # fmt: skip
        return self.rules.find(unseen) is not None

    def __call__(
        self, operation: Any, inputs: Values, inputs0: Values | None, data: tuple[int, ...], where: Where
    ) -> Both:
        op = GraphOp(operation, inputs, inputs0, data, where, self.rules.layers)
        op.present = self.padding.present(op.inputs, op.early)
        # lists carry derivatives in ways of their own
        lists = any(x.dtype == tf.variant for x in (*op.inputs, *op.outputs))
        has_none = lists or not any(x.dtype.is_floating for x in op.outputs)
        rule = None if has_none else self.rules.find(op)
        if op.kind != "discrete":
            self.coverage.count(self.rules, op.name, "linear" if lists else op.kind, rule)
        ys0 = None if op.ref_outputs is None else list(op.ref_outputs)
        ys = list(op.outputs) if rule is None else _under(rule, op)
        self.padding.follow(op, ys, pads=self.rules.places and op.name in PADS)
        return ys, ys0


def _under(rule: Rule, op: OpCall) -> list[Tensor]:
    """The operation's outputs, whose derivative is the rule's."""

    def pullback(*cotangents: Tensor) -> list[Tensor | None]:
        found = rule(ops, op, cotangents)
        return [found[i] for i in op.data]

    return with_pullback(op.outputs, [op.inputs[i] for i in op.data], pullback)
