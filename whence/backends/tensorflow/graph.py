"""A traced graph, emitted again operation by operation into the graph under construction.

Calls of functions, branches and loops are followed inside, so that every operation is met. Nothing is written on the
traced graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from whence.core.errors import CapabilityError
from whence.core.ops import Tensor

Visit = Callable[[Any, list[Tensor], tuple[int, ...]], list[Tensor]]
"""``visit(operation, inputs, data)`` emits an operation on the path from input to output; ``data`` are the floating
inputs that depend on the attributed input."""

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_BRANCHES = ("If", "StatelessIf", "Case", "StatelessCase")
_LOOPS = ("While", "StatelessWhile")


def emit_graph(graph: Any, inputs: Sequence[Tensor], data: Sequence[bool], visit: Visit) -> list[Tensor]:
    """The outputs of ``graph`` at ``inputs``; ``data`` says which inputs depend on the attributed input."""
    values = {placeholder.name: x for placeholder, x in zip(graph.inputs, inputs, strict=True)}
    order = _ordered(graph)
    reached = _reached(graph, order, data)
    for operation in order:
        if operation.outputs[0].name in values:
            continue
        given = [values[x.name] for x in operation.inputs]
        depends = [x.name in reached for x in operation.inputs]
        # a call that was differentiated before has outputs that are for its derivative only
        for x, value in zip(operation.outputs, _emit_any(graph, operation, given, depends, visit), strict=False):
            values[x.name] = value
    return [values[x.name] for x in graph.outputs]


def emit(operation: Any, inputs: Sequence[Tensor]) -> list[Tensor]:
    """One operation again, at other inputs."""
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


def _emit_any(graph: Any, operation: Any, inputs: list[Tensor], depends: list[bool], visit: Visit) -> list[Tensor]:
    def inside(attribute: str) -> Any:
        return _function(graph, operation.get_attr(attribute).name)

    if operation.type in _CALLS:
        return emit_graph(inside("f"), inputs, depends, visit)
    if operation.type in _BRANCHES:
        if "If" in operation.type:
            branches = [inside("else_branch"), inside("then_branch")]
        else:
            branches = [_function(graph, branch.name) for branch in operation.get_attr("branches")]
        return _emit_branches(branches, inputs, depends, visit)
    if operation.type in _LOOPS:
        return _emit_loop(inside("cond"), inside("body"), operation, inputs, depends, visit)
    data = tuple(i for i, x in enumerate(operation.inputs) if depends[i] and x.dtype.is_floating)
    return visit(operation, inputs, data) if data else emit(operation, inputs)


def _emit_branches(branches: list[Any], inputs: list[Tensor], depends: list[bool], visit: Visit) -> list[Tensor]:
    def taken(branch: Any) -> Callable[[], list[Tensor]]:
        return lambda: emit_graph(branch, inputs[1:], depends[1:], visit)

    return _listed(tf.switch_case(tf.cast(inputs[0], tf.int32), [taken(branch) for branch in branches]))


def _emit_loop(
    condition: Any, body: Any, operation: Any, inputs: list[Tensor], depends: list[bool], visit: Visit
) -> list[Tensor]:
    # what depends on the input after any number of turns
    while True:
        after = _reached(body, _ordered(body), depends)
        widened = [was or x.name in after for was, x in zip(depends, body.outputs, strict=True)]
        if widened == depends:
            break
        depends = widened

    def goes_on(*values: Tensor) -> Tensor:
        return emit_graph(condition, values, [False] * len(values), visit)[0]

    def turn(*values: Tensor) -> list[Tensor]:
        return emit_graph(body, values, depends, visit)

    shapes = [x.shape for x in operation.outputs]
    return _listed(tf.while_loop(goes_on, turn, inputs, shape_invariants=shapes, parallel_iterations=1))


def _reached(graph: Any, order: Sequence[Any], data: Sequence[bool]) -> set[str]:
    """Names of the tensors that depend on the inputs marked in ``data``."""
    names = {x.name for x, depends in zip(graph.inputs, data, strict=True) if depends}
    for operation in order:
        if operation.type not in _SIZES and any(x.name in names for x in operation.inputs):
            names.update(x.name for x in operation.outputs)
    return names


_SIZES = ("Shape", "ShapeN", "Size", "Rank", "TensorListReserve", "TensorListElementShape", "TensorListLength")
"""Operations that look at how large a tensor is, not at what it holds."""


def _ordered(graph: Any) -> list[Any]:
    """The operations that the outputs are made from, each after its inputs.

    The graph's own order will not do: a loop that was differentiated before has inputs that were made after it.
    """
    order: list[Any] = []
    seen: set[str] = set()
    waiting = [(x.op, False) for x in graph.outputs]
    while waiting:
        operation, has_inputs = waiting.pop()
        if has_inputs:
            order.append(operation)
        elif operation.name not in seen:
            seen.add(operation.name)
            waiting.append((operation, True))
            waiting.extend((x.op, False) for x in operation.inputs)
    return order


def _function(graph: Any, name: str) -> Any:
    """The graph of a function that is called by name."""
    found = graph._get_function(name)
    inner = getattr(found, "graph", None)
    if inner is None:
        raise CapabilityError("backward rules inside a called function", received=f"{name!r}, which has no graph",
                              valid="functions that were traced by tf.function")
    return inner


def _listed(values: Any) -> list[Tensor]:
    return list(values) if isinstance(values, (list, tuple)) else [values]
