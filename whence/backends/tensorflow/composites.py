"""Operations that a graph spells out in several, found again: ``x * sigmoid(x)`` is one elementwise operation on x."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import tensorflow as tf

from whence.backends.tensorflow.kinds import KINKED, VALUE_BY_VALUE, kind_of
from whence.backends.tensorflow.marks import SEEN, edit_of
from whence.core.folding import scale_and_bias
from whence.core.pointwise import Pointwise
from whence.core.signs import Signs
from whence.core.statistics import Statistics


@dataclass(frozen=True)
class Composite:
    """Operations that make one, the last of which gives its output; ``inputs`` are tensors, the root first."""

    kind: str
    operations: Sequence[Any]
    inputs: Sequence[Any]
    params: Mapping[str, Any] = field(default_factory=dict)
    parts: tuple[Composite, ...] = ()
    """An affine operation and an elementwise function of what it gives, of which it consists."""

    @property
    def name(self) -> str:
        """The operation that it is reported as: the product of an affine one, else the last; or each of its parts."""
        if self.parts:
            return ", ".join(part.name for part in self.parts)
        return str(self.operations[0 if self.kind == "affine" else -1].type)


def statistics(order: Sequence[Any], reached: Collection[str]) -> dict[str, int]:
    """The operand that is a statistic of a normalisation, by the names of products and quotients that have one."""
    known, found = Statistics(), {}
    for operation in order:
        data = [i for i, x in enumerate(operation.inputs) if x.name in reached]
        if data:
            kind, given = kind_of(operation, data)[0], [operation.inputs[i].name for i in data]
            known.add(operation.type.lower(), kind, given, [x.name for x in operation.outputs])
            operand = known.operand(kind, given)
            found.update({} if operand is None else {operation.name: operand})
    return found


def signs_of(order: Sequence[Any], reached: Collection[str]) -> Signs:
    """What is known of the signs of tensors, by their names."""
    found = Signs()
    for operation in order:
        data = [i for i, x in enumerate(operation.inputs) if x.name in reached]
        if data and not _is_edited(operation):
            kind, names = kind_of(operation, data)[0], [operation.inputs[i].name for i in data]
            name = "zero_pad" if operation.type == "Pad" else operation.type.lower()
            found.add(name, kind, names, [x.name for x in operation.outputs])
    return found


def composites(order: Sequence[Any], reached: Collection[str]) -> dict[str, list[Composite]]:
    """What operations complete, by their names, the largest first.

    ``reached`` are the tensors that depend on the attributed input.
    """
    pointwise, found = Pointwise(), defaultdict[str, list[Composite]](list)
    tensors = {x.name: x for operation in order for x in operation.outputs}
    tensors.update((x.name, x) for operation in order for x in operation.inputs)
    for operation in order:
        spelled = _of_softmax(operation) or _with_constants(operation, reached)
        if spelled is not None and spelled.inputs[0].name in reached:
            found[operation.name].append(spelled)
        depends = [x for x in operation.inputs if x.name in reached]
        by_value = operation.type in VALUE_BY_VALUE and not _is_edited(operation)
        if not by_value or not depends or _shapes(depends) != _shapes(operation.outputs):
            continue
        root = pointwise.root([x.name for x in depends], lambda name: tensors[name].dtype.is_floating)
        if not isinstance(root, str):
            continue
        pointwise.add(operation.outputs[0].name, root)
        kind, _ = kind_of(operation, [i for i, x in enumerate(operation.inputs) if x.name in reached])
        if spelled is not None or kind in ("linear", "discrete"):
            continue
        together = _activated(operation, kind, [tensors[name] for name in pointwise.chain(root)], reached)
        alone = [x.name for x in depends] == [root]
        found[operation.name] += [] if together is None else [together]
        found[operation.name] += [] if alone or kind == "relu" else [_composite(operation, tensors[root], reached)]
    return found


def _activated(last: Any, kind: str, chain: Sequence[Any], reached: Collection[str]) -> Composite | None:
    """An operation that is an elementwise function of what an affine operation gave, with that operation."""
    for z in chain:
        affine = _affine(z, reached)
        if affine is not None:
            is_next = z.name in [x.name for x in last.inputs] and kind == "relu"
            activation = replace(_composite(last, z, reached), kind="relu" if is_next else "elementwise")
            rest = [x for x in activation.inputs if x.name != z.name]
            operations = (*affine.operations, *activation.operations)
            return Composite("activated", operations, (*affine.inputs, *rest), {}, (affine, activation))
    return None


_RESHAPES = ("Reshape", "Squeeze", "ExpandDims")
"""What a product of other ranks than the model's, such as a convolution in one dimension, is put in shape by."""


def _affine(z: Any, reached: Collection[str]) -> Composite | None:
    """The product with constant weights that gave z, changes of its shape included."""
    product = z.op
    shaped: list[Any] = []
    while product.type in _RESHAPES and not any(x.name in reached for x in list(product.inputs)[1:]):
        product, shaped = product.inputs[0].op, [product, *shaped]
    data = [i for i, x in enumerate(product.inputs) if x.name in reached]
    if not data or kind_of(product, data)[0] != "affine":
        return None
    x = product.inputs[data[0]]
    read = [w for operation in (product, *shaped) for w in operation.inputs if w.name not in reached]
    params = {"conv": "Conv" in product.type, "bias": None}
    return Composite("affine", (product, *shaped), (x, *read), params)


def _of_softmax(last: Any) -> Composite | None:
    """exp(s) / sum(exp(s)), log(sum(exp(s))) and s - log(sum(exp(s))), of the root s."""
    match last.type:
        case "RealDiv":
            top, total = (x.op for x in last.inputs)
            if total.type == "Sum" and total.inputs[0].name == last.inputs[0].name and top.type == "Exp":
                return _summed("softmax", top, total, last)
        case "Log" if last.inputs[0].op.type == "Sum" and last.inputs[0].op.inputs[0].op.type == "Exp":
            total = last.inputs[0].op
            return _summed("logsumexp", total.inputs[0].op, total, last)
        case "Sub" if last.inputs[1].op.type == "Log":
            whole = _of_softmax(last.inputs[1].op)
            if whole is not None and whole.inputs[0].name == last.inputs[0].name:
                top, total, log = whole.operations
                return _summed("log_softmax", top, total, log, last)
    return None


class Scaling(NamedTuple):
    """A step of ``core.folding``; a variance is divided by as its root, channels may be followed by other axes."""

    name: str
    variance_epsilon: float | None = None
    axes_behind: int = 0

    def constant(self, c: Any) -> Any:
        """The constant as the step takes it."""
        c = c if self.variance_epsilon is None else tf.sqrt(c + self.variance_epsilon)
        return tf.reshape(c, (-1, *(1,) * self.axes_behind)) if self.axes_behind else c


@dataclass(frozen=True)
class Folded(Composite):
    """What a ``product`` z gives, scaled or shifted by constants, z S + T.

    ``inputs`` are those of the product, the data first, and then the constants of ``steps``.
    """

    product: Composite = field(kw_only=True)
    steps: Sequence[Scaling] = ()
    """Those behind a change of precision are in the last one, and so is what comes of all."""

    def constants(self, values: Sequence[Any]) -> list[Any]:
        """S, if there is one, and T."""
        given, dtype = values[len(values) - len(self.steps) :], self.operations[-1].outputs[0].dtype
        taken = [(step.name, tf.cast(step.constant(c), dtype)) for step, c in zip(self.steps, given, strict=True)]
        return [c for c in scale_and_bias(taken) if c is not None]


def _with_constants(last: Any, reached: Collection[str]) -> Composite | None:
    """What scales or shifts a product with constant weights, batch normalisation for one, as part of it."""
    steps: list[tuple[Scaling, Any]] = []
    passed, at = [last], _scaling(last, reached)
    while at is not None:
        x, steps = at[0], [*at[1], *steps]
        while (edit_of(x.op) is not None and not _is_edited(x.op)) or _is_precision(x.op):
            x = x.op.inputs[0]
        product = _affine(x, reached)
        if product is not None:
            names, constants = zip(*steps, strict=True)
            is_scaled = bool({"mul", "div"} & {step.name for step in names})
            count = len(product.inputs)
            params = {**product.params, "scale": count if is_scaled else None, "bias": count + is_scaled}
            operations, inputs = (*product.operations, *passed), (*product.inputs, *constants)
            return Folded("affine", operations, inputs, params, product=product, steps=names)
        passed, at = [x.op, *passed], _scaling(x.op, reached)
    return None


def _is_precision(operation: Any) -> bool:
    """Whether numbers are put into another precision."""
    return operation.type == "Cast" and all(x.dtype.is_floating for x in (*operation.inputs, *operation.outputs))


def _is_edited(operation: Any) -> bool:
    """Whether another value may come in the operation's place."""
    edit = edit_of(operation)
    return edit is not None and edit.kind != SEEN


def _scaling(operation: Any, reached: Collection[str]) -> tuple[Any, list[tuple[Scaling, Any]]] | None:
    """The value that an operation scales or shifts by constants, and how."""
    name = _STEPS.get(operation.type)
    data = [i for i, x in enumerate(operation.inputs) if x.name in reached]
    if name is None or len(data) != 1 or (name in ("sub", "div", "norm") and data != [0]):
        return None
    x, *constants = (operation.inputs[data[0]], *(y for i, y in enumerate(operation.inputs) if i != data[0]))
    if _shapes([x]) != _shapes(operation.outputs[:1]):
        return None
    formatted = operation.type in ("BiasAdd", "FusedBatchNormV3")
    behind = x.shape.rank - 2 if formatted and operation.get_attr("data_format").startswith(b"NC") else 0
    if name != "norm":
        return x, [(Scaling(name, axes_behind=behind), constants[0])]
    if operation.get_attr("is_training"):
        return None
    factor, offset, mean, variance = constants
    root = Scaling("div", operation.get_attr("epsilon"), behind)
    steps = [("sub", mean), ("mul", factor), ("add", offset)]
    found = [(Scaling(step, axes_behind=behind), constant) for step, constant in steps]
    return x, [found[0], (root, variance), *found[1:]]


_STEPS = {"BiasAdd": "add", "AddV2": "add", "Add": "add", "Sub": "sub", "Mul": "mul", "RealDiv": "div", "Div": "div",
          "FusedBatchNormV3": "norm"}  # fmt: skip


def _summed(kind: str, *steps: Any) -> Composite | None:
    axes = tf.get_static_value(steps[1].inputs[1])
    if axes is None:
        return None
    axis = tuple(int(a) for a in axes.reshape(-1))
    return Composite(kind, steps, (steps[0].inputs[0], steps[1].inputs[1]), {"axis": axis})


def _shapes(tensors: Sequence[Any]) -> set[tuple[Any, ...]]:
    return {tuple(x.shape.as_list()) if x.shape.rank is not None else (x.name,) for x in tensors}


def _composite(last: Any, root: Any, reached: Collection[str]) -> Composite:
    steps = [*_between(last, root, reached, set()), last]
    inside = {x.name for operation in steps for x in operation.outputs}
    read = {x.name: x for operation in steps for x in operation.inputs if x.name not in {*inside, root.name}}
    kinked = any(operation.type in KINKED for operation in steps)
    return Composite("elementwise", steps, (root, *read.values()), {"kinked": kinked})


def _between(operation: Any, root: Any, reached: Collection[str], seen: set[str]) -> Iterator[Any]:
    """Operations on the way from the root to one, in the order in which they run."""
    for x in operation.inputs:
        if x.name != root.name and x.name in reached and x.op.name not in seen:
            seen.add(x.op.name)
            yield from _between(x.op, root, reached, seen)
            yield x.op
