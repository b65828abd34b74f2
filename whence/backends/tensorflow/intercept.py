"""A model with the derivative of chosen operations replaced: its traced graph, emitted again with rules in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import tensorflow as tf

from whence.backends.tensorflow.gradient import pull, with_pullback
from whence.backends.tensorflow.graph import emit, emit_graph, has_custom_gradient
from whence.backends.tensorflow.kinds import kind_of
from whence.backends.tensorflow.model import TensorflowModel
from whence.backends.tensorflow.ops import ops
from whence.backends.tensorflow.traced import TracedLeaf
from whence.core.errors import CapabilityError
from whence.core.model import Edit, Leaf, Model
from whence.core.ops import Tensor
from whence.core.rule import Coverage, OpCall, Rule, RuleSet
from whence.core.tree import flatten


class GraphOp(OpCall):
    """One operation of the traced graph at the values it meets in ours."""

    def __init__(self, operation: Any, inputs: Sequence[Tensor], data: tuple[int, ...]) -> None:
        self._operation = operation
        self.name = "IdentityN with custom gradient" if has_custom_gradient(operation) else operation.type
        self.kind, self.params = kind_of(operation, data)
        self.inputs, self.data = tuple(inputs), data
        self.outputs = self.call(*inputs)

    def call(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(emit(self._operation, inputs))

    def vjp(self, inputs: Sequence[Tensor], cotangents: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
        at = list(inputs)
        for i in self.data:
            at[i] = tf.identity(at[i])
        found = iter(pull(self.call(*at), [at[i] for i in self.data], cotangents))
        return tuple(next(found) if i in self.data else None for i in range(len(at)))


class _Seen:
    """What the rules met when a leaf was traced, kept for the calls that find it compiled."""

    coverage: Coverage | None = None


class _RuledLeaf(TracedLeaf):
    def __init__(self, fn: Callable[..., Any], seen: _Seen) -> None:
        super().__init__(fn, eagerly=False)
        self.seen = seen


class InterceptedModel(TensorflowModel):
    """``inner`` under ``rules``: same layers, same inputs, another derivative."""

    def __init__(self, inner: TensorflowModel, rules: RuleSet, reference: Any, seen: _Seen | None = None) -> None:
        if reference is not None:
            raise CapabilityError(f"backward rules {rules.name!r} with a reference", received="a TensorFlow model",
                                  valid="rules without a reference")
        super().__init__(inner.target, inner.options)
        self.store = inner.store
        self.inner, self.rules, self._seen = inner, rules, seen or _Seen()

    def run(
        self, inputs: Any, *, edits: Mapping[str, Edit] | None = None, taps: Sequence[str] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        leaves, structure = flatten(inputs)

        def forward(*leaves: Tensor) -> list[Tensor]:
            output, tapped = self.inner.run(structure.unflatten(leaves), edits=edits, taps=taps)
            return [output, *(tapped[name] for name in taps)]

        if tf.executing_eagerly():
            output, *tapped = tf.function(lambda *x: self._emit(forward, x), autograph=False)(*leaves)
        else:
            output, *tapped = self._emit(forward, leaves)
        return output, dict(zip(taps, tapped, strict=True))

    def _emit(self, forward: Callable[..., list[Tensor]], leaves: Sequence[Tensor]) -> list[Tensor]:
        """The forward pass on ``leaves``, its operations emitted into the graph under construction."""
        shapes = [tf.TensorSpec(x.shape, x.dtype) for x in leaves]
        traced = tf.function(forward, autograph=False).get_concrete_function(*shapes)
        captured = traced.captured_inputs
        # an edit brings in tensors of the graph around, which may depend on what is attributed; weights are eager
        data = [True] * len(leaves) + [not isinstance(x, tf.__internal__.EagerTensor) for x in captured]
        coverage = Coverage()
        outputs = emit_graph(traced.graph, [*leaves, *captured], data, _visitor(self.rules, coverage))
        coverage.require(self.rules)
        self._seen.coverage = coverage
        return outputs

    @property
    def coverage(self) -> Coverage | None:
        return self._seen.coverage

    @property
    def key(self) -> Any:
        return (self.inner.key, "rules", self.rules.name)

    def compile(self, leaf: Leaf, key: Any) -> Callable[..., Any]:
        compiled = super().compile(leaf, key)
        assert isinstance(compiled, _RuledLeaf)
        self._seen = compiled.seen
        return compiled

    def _build(self, leaf: Leaf) -> Callable[..., Any]:
        again, rules, seen = self.inner._weak(), self.rules, _Seen()
        return _RuledLeaf(lambda *tensors: leaf(InterceptedModel(again(), rules, None, seen).run, *tensors), seen)

    # -- as the model inside ---------------------------------------------------------------------------------
    @property
    def default_layout(self) -> str | None:  # type: ignore[override]
        return self.inner.default_layout

    def with_options(self, **changes: Any) -> Model:
        inner = self.inner.with_options(**changes)
        assert isinstance(inner, TensorflowModel)
        return InterceptedModel(inner, self.rules, None)

    def layers(self) -> tuple[str, ...]:
        return self.inner.layers()

    def variables(self) -> Sequence[Any]:
        return self.inner.variables()

    def check(self, names: Sequence[str], leaves: Sequence[Tensor]) -> None:
        self.inner.check(names, leaves)

    @contextmanager
    def hold(self) -> Iterator[Self]:
        with self.inner.hold():
            yield self


def _visitor(rules: RuleSet, coverage: Coverage) -> Callable[[Any, list[Tensor], tuple[int, ...]], list[Tensor]]:
    def visit(operation: Any, inputs: list[Tensor], data: tuple[int, ...]) -> list[Tensor]:
        op = GraphOp(operation, inputs, data)
        # lists carry derivatives in ways of their own
        lists = any(x.dtype == tf.variant for x in (*op.inputs, *op.outputs))
        rule = None if lists else rules.find(op)
        (coverage.plain if rule is None else coverage.ruled)[op.name] += 1
        return list(op.outputs) if rule is None else _under(rule, op)

    return visit


def _under(rule: Rule, op: OpCall) -> list[Tensor]:
    """The operation's outputs, whose derivative is the rule's."""

    def pullback(*cotangents: Tensor) -> list[Tensor | None]:
        found = rule(ops, op, cotangents)
        return [found[i] for i in op.data]

    return with_pullback(op.outputs, [op.inputs[i] for i in op.data], pullback)
