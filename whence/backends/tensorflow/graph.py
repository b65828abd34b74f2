"""A traced graph, emitted again operation by operation into the graph under construction.

Calls of functions, branches and loops are followed inside, so that every operation is met. Nothing is written on the
traced graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import tensorflow as tf

from whence.backends.tensorflow.composites import Composite, composites, signs_of, statistics
from whence.backends.tensorflow.flow import (
    BRANCHES,
    CALLS,
    LOOPS,
    Where,
    ahead_in_loop,
    ahead_of,
    behind_affine,
    branches,
    function,
    inputs_of,
    late_in_loop,
    ordered,
    reached_from,
)
from whence.backends.tensorflow.grouped import is_grouped, ungrouped
from whence.backends.tensorflow.marks import edit_of
from whence.core.ahead import Ahead
from whence.core.ops import Tensor

Values = Sequence[Tensor]
Both = tuple[list[Tensor], list[Tensor] | None]
"""Values for the input, and those for a reference beside it, None without one."""


class Visit(Protocol):
    """What is done on the path from input to output."""

    def __call__(
        self, operation: Any, inputs: Values, inputs0: Values | None, data: tuple[int, ...], where: Where
    ) -> Both:
        """Emit an operation or composite; ``data`` are the floating inputs that depend on the attributed input."""

    def edit(self, number: int, value: Tensor, value0: Tensor) -> Both:
        """What an edit makes of a layer's output, and that of the reference of the output there."""

    def wants(self, composite: Composite, where: Where) -> bool:
        """Whether the composite is visited, and not the operations that it stands for."""


def emit_graph(
    graph: Any, inputs: Values, data: Sequence[bool], visit: Visit, inputs0: Values | None = None,
    where: Where | None = None,
) -> Both:  # fmt: skip
    """The outputs of ``graph`` at ``inputs``, and at those of a reference.

    ``data`` says which inputs depend on the attributed input; what does not is emitted once.
    """
    where = where or Where([False] * len(inputs), ahead=[Ahead.NO_AFFINE] * len(graph.outputs))
    names = [placeholder.name for placeholder in graph.inputs]
    values = dict(zip(names, inputs, strict=True))
    differ = [d and x0 is not None for d, x0 in zip(data, inputs0 or [None] * len(names), strict=True)]
    values0 = {name: x0 for name, x0, d in zip(names, inputs0 or names, differ, strict=True) if d}
    order = ordered(graph)
    reached = reached_from(graph, order, data)
    late, known = behind_affine(graph, order, reached, where.late), statistics(order, reached)
    signs = signs_of(order, reached)
    ahead = ahead_of(graph, order, reached, where.ahead)

    def here(whole: Any) -> Where:
        is_composite = isinstance(whole, Composite)
        after = [ahead[x.name] for x in (whole.operations[-1] if is_composite else whole).outputs]
        statistic = None if is_composite else known.get(whole.name)
        non_negative = signs.non_negative([x.name for x in whole.inputs if x.name in reached])
        return Where([x.name in late for x in whole.inputs], where.at(whole), after, statistic, non_negative)

    found = {
        name: wanted for name, wholes in composites(order, reached).items()
        if (wanted := next((whole for whole in wholes if visit.wants(whole, here(whole))), None)) is not None
    }  # fmt: skip
    # a composite may reach past a layer's output, which is looked at none the less
    edited = [operation for operation in order if edit_of(operation) is not None]
    for operation in ordered(graph, found, edited):
        if operation.outputs[0].name in values:
            continue
        whole = found.get(operation.name, operation)
        given = [values[x.name] for x in inputs_of(whole)]
        differs = any(x.name in values0 for x in whole.inputs)
        given0 = [values0.get(x.name, values[x.name]) for x in inputs_of(whole)] if differs else None
        depends = [x.name in reached for x in whole.inputs]
        ys, ys0 = _emit_any(graph, whole, given, given0, depends, visit, here(whole))
        # a call that was differentiated before has outputs that are for its derivative only
        values.update((x.name, y) for x, y in zip(operation.outputs, ys, strict=False))
        if ys0 is not None:
            values0.update((x.name, y) for x, y in zip(operation.outputs, ys0, strict=False))
    names = [x.name for x in graph.outputs]
    outputs0 = None if inputs0 is None else [values0.get(name, values[name]) for name in names]
    return [values[name] for name in names], outputs0


def emit(operation: Any, inputs: Sequence[Tensor]) -> list[Tensor]:
    """One operation again, at other inputs."""
    if is_grouped(operation):
        return [ungrouped(operation, inputs)]
    graph = tf.compat.v1.get_default_graph()
    with tf.device(operation.device or None):
        made = graph.create_op(operation.type, list(inputs), [x.dtype for x in operation.outputs],
                               attrs=_attributes(operation), op_def=operation.op_def)  # fmt: skip
    for new, old in zip(made.outputs, operation.outputs, strict=True):
        if new.shape.rank is None:
            new.set_shape(old.shape)
    return list(made.outputs)


def has_custom_gradient(operation: Any) -> bool:
    """Whether ``tf.custom_gradient`` put the operation there: the operations it stands for come before it."""
    return operation.type == "IdentityN" and "_gradient_op_type" in operation.node_def.attr


def _attributes(operation: Any) -> dict[str, Any]:
    """The attributes that matter at another place.

    A custom gradient belongs to the graph it was made in, and would hide the operations it stands for.
    """
    kept = () if has_custom_gradient(operation) else ("_gradient_op_type",)
    return {name: value for name, value in operation.node_def.attr.items() if name[0] != "_" or name in kept}


def _emit_any(
    graph: Any, operation: Any, inputs: Values, inputs0: Values | None, depends: list[bool], visit: Visit, where: Where
) -> Both:
    def inside(attribute: str) -> Any:
        return function(graph, operation.get_attr(attribute).name)

    if isinstance(operation, Composite):
        return visit(operation, inputs, inputs0, (0,), where)
    edit = edit_of(operation)
    if edit is not None:
        # one that puts a value does not read what it is given
        value = inputs[0] if inputs else None
        return visit.edit(edit.number, value, inputs0[0] if inputs0 else value)
    if operation.type in CALLS:
        return emit_graph(inside("f"), inputs, depends, visit, inputs0, where)
    if operation.type in BRANCHES:
        return _emit_branches(branches(graph, operation), inputs, inputs0, depends, visit, where)
    if operation.type in LOOPS:
        return _emit_loop(inside("cond"), inside("body"), operation, inputs, inputs0, depends, visit, where)
    data = tuple(i for i, x in enumerate(operation.inputs) if depends[i] and x.dtype.is_floating)
    if data:
        return visit(operation, inputs, inputs0, data, where)
    return emit(operation, inputs), None if inputs0 is None else emit(operation, inputs0)


def _emit_branches(
    graphs: list[Any], inputs: Values, inputs0: Values | None, depends: list[bool], visit: Visit, where: Where
) -> Both:
    # the input decides for the reference, too: the derivative is that of its branch
    rest0 = None if inputs0 is None else inputs0[1:]

    def taken(branch: Any) -> Callable[[], list[Tensor]]:
        def emitted() -> list[Tensor]:
            ys, ys0 = emit_graph(branch, inputs[1:], depends[1:], visit, rest0, where.inside_branch())
            return [*ys, *(ys0 or ())]

        return emitted

    both = _listed(tf.switch_case(tf.cast(inputs[0], tf.int32), [taken(branch) for branch in graphs]))
    count = len(both) if inputs0 is None else len(both) // 2
    return both[:count], None if inputs0 is None else both[count:]


def _emit_loop(
    condition: Any, body: Any, operation: Any, inputs: Values, inputs0: Values | None, depends: list[bool],
    visit: Visit, where: Where,
) -> Both:  # fmt: skip
    # what depends on the input after any number of turns
    while True:
        after = reached_from(body, ordered(body), depends)
        widened = [was or x.name in after for was, x in zip(depends, body.outputs, strict=True)]
        if widened == depends:
            break
        depends = widened
    count, late = len(inputs), late_in_loop(body, depends, list(where.late))
    ahead = ahead_in_loop(body, depends, where.ahead)
    doubled = [i for i in range(count) if depends[i]] if inputs0 is not None else []

    def beside(values: Values) -> list[Tensor]:
        """The loop's values for the reference: what depends on the input is carried twice."""
        own = dict(zip(doubled, values[count:], strict=True))
        return [own.get(i, x) for i, x in enumerate(values[:count])]

    def goes_on(*values: Tensor) -> Tensor:
        return emit_graph(condition, values[:count], [False] * count, visit)[0][0]

    def turn(*values: Tensor) -> list[Tensor]:
        ys, ys0 = emit_graph(body, values[:count], depends, visit, beside(values) if doubled else None,
                             Where(late, where.layers, ahead))  # fmt: skip
        return [*ys, *(ys0[i] for i in doubled if ys0 is not None)]

    shapes = [x.shape for x in operation.outputs]
    found = _listed(
        tf.while_loop(
            goes_on, turn, [*inputs, *(inputs0[i] for i in doubled if inputs0 is not None)],
            shape_invariants=[*shapes, *(shapes[i] for i in doubled)], parallel_iterations=1,
        )
    )  # fmt: skip
    return found[:count], None if inputs0 is None else beside(found)


def _listed(values: Any) -> list[Tensor]:
    return list(values) if isinstance(values, (list, tuple)) else [values]
