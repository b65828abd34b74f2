"""A traced graph, emitted again operation by operation into the graph under construction.

Calls of functions, branches and loops are followed inside, so that every operation is met. Nothing is written on the
traced graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import tensorflow as tf

from whence.backends.tensorflow.composites import Composite, composites
from whence.core.errors import CapabilityError
from whence.core.ops import Tensor

Values = Sequence[Tensor]
Both = tuple[list[Tensor], list[Tensor] | None]
"""Values for the input, and those for a reference beside it, None without one."""


class Visit(Protocol):
    """What is done on the path from input to output."""

    def __call__(self, operation: Any, inputs: Values, inputs0: Values | None, data: tuple[int, ...]) -> Both:
        """Emit an operation or composite; ``data`` are the floating inputs that depend on the attributed input."""

    def wants(self, composite: Composite) -> bool:
        """Whether the composite is visited, and not the operations that it stands for."""


_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_BRANCHES = ("If", "StatelessIf", "Case", "StatelessCase")
_LOOPS = ("While", "StatelessWhile")


def emit_graph(
    graph: Any, inputs: Values, data: Sequence[bool], visit: Visit, inputs0: Values | None = None
) -> Both:
    """The outputs of ``graph`` at ``inputs``, and at those of a reference.

    ``data`` says which inputs depend on the attributed input; what does not is emitted once.
    """
    names = [placeholder.name for placeholder in graph.inputs]
    values = dict(zip(names, inputs, strict=True))
    depends = [d and x0 is not None for d, x0 in zip(data, inputs0 or [None] * len(names), strict=True)]
    values0 = {name: x0 for name, x0, d in zip(names, inputs0 or names, depends, strict=True) if d}
    order = ordered(graph)
    reached = _reached(graph, order, data)
    found = {name: whole for name, whole in composites(order, reached).items() if visit.wants(whole)}
    for operation in ordered(graph, found):
        if operation.outputs[0].name in values:
            continue
        whole = found.get(operation.name, operation)
        given = [values[x.name] for x in whole.inputs]
        differs = any(x.name in values0 for x in whole.inputs)
        given0 = [values0.get(x.name, values[x.name]) for x in whole.inputs] if differs else None
        ys, ys0 = _emit_any(graph, whole, given, given0, [x.name in reached for x in whole.inputs], visit)
        # a call that was differentiated before has outputs that are for its derivative only
        values.update((x.name, y) for x, y in zip(operation.outputs, ys, strict=False))
        if ys0 is not None:
            values0.update((x.name, y) for x, y in zip(operation.outputs, ys0, strict=False))
    names = [x.name for x in graph.outputs]
    outputs0 = None if inputs0 is None else [values0.get(name, values[name]) for name in names]
    return [values[name] for name in names], outputs0


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


def _emit_any(
    graph: Any, operation: Any, inputs: Values, inputs0: Values | None, depends: list[bool], visit: Visit
) -> Both:
    def inside(attribute: str) -> Any:
        return _function(graph, operation.get_attr(attribute).name)

    if isinstance(operation, Composite):
        return visit(operation, inputs, inputs0, (0,))
    if operation.type in _CALLS:
        return emit_graph(inside("f"), inputs, depends, visit, inputs0)
    if operation.type in _BRANCHES:
        if "If" in operation.type:
            branches = [inside("else_branch"), inside("then_branch")]
        else:
            branches = [_function(graph, branch.name) for branch in operation.get_attr("branches")]
        return _emit_branches(branches, inputs, inputs0, depends, visit)
    if operation.type in _LOOPS:
        return _emit_loop(inside("cond"), inside("body"), operation, inputs, inputs0, depends, visit)
    data = tuple(i for i, x in enumerate(operation.inputs) if depends[i] and x.dtype.is_floating)
    if data:
        return visit(operation, inputs, inputs0, data)
    return emit(operation, inputs), None if inputs0 is None else emit(operation, inputs0)


def _emit_branches(
    branches: list[Any], inputs: Values, inputs0: Values | None, depends: list[bool], visit: Visit
) -> Both:
    # the input decides for the reference, too: the derivative is that of its branch
    rest0 = None if inputs0 is None else inputs0[1:]

    def taken(branch: Any) -> Callable[[], list[Tensor]]:
        def emitted() -> list[Tensor]:
            ys, ys0 = emit_graph(branch, inputs[1:], depends[1:], visit, rest0)
            return [*ys, *(ys0 or ())]

        return emitted

    both = _listed(tf.switch_case(tf.cast(inputs[0], tf.int32), [taken(branch) for branch in branches]))
    count = len(both) if inputs0 is None else len(both) // 2
    return both[:count], None if inputs0 is None else both[count:]


def _emit_loop(
    condition: Any, body: Any, operation: Any, inputs: Values, inputs0: Values | None, depends: list[bool],
    visit: Visit,
) -> Both:  # fmt: skip
    # what depends on the input after any number of turns
    while True:
        after = _reached(body, ordered(body), depends)
        widened = [was or x.name in after for was, x in zip(depends, body.outputs, strict=True)]
        if widened == depends:
            break
        depends = widened
    count = len(inputs)
    doubled = [i for i in range(count) if depends[i]] if inputs0 is not None else []

    def beside(values: Values) -> list[Tensor]:
        """The loop's values for the reference: what depends on the input is carried twice."""
        own = dict(zip(doubled, values[count:], strict=True))
        return [own.get(i, x) for i, x in enumerate(values[:count])]

    def goes_on(*values: Tensor) -> Tensor:
        return emit_graph(condition, values[:count], [False] * count, visit)[0][0]

    def turn(*values: Tensor) -> list[Tensor]:
        ys, ys0 = emit_graph(body, values[:count], depends, visit, beside(values) if doubled else None)
        return [*ys, *(ys0[i] for i in doubled if ys0 is not None)]

    shapes = [x.shape for x in operation.outputs]
    found = _listed(
        tf.while_loop(
            goes_on, turn, [*inputs, *(inputs0[i] for i in doubled if inputs0 is not None)],
            shape_invariants=[*shapes, *(shapes[i] for i in doubled)], parallel_iterations=1,
        )
    )  # fmt: skip
    return found[:count], None if inputs0 is None else beside(found)


def _reached(graph: Any, order: Sequence[Any], data: Sequence[bool]) -> set[str]:
    """Names of the tensors that depend on the inputs marked in ``data``."""
    names = {x.name for x, depends in zip(graph.inputs, data, strict=True) if depends}
    for operation in order:
        if operation.type not in _SIZES and any(x.name in names for x in operation.inputs):
            names.update(x.name for x in operation.outputs)
    return names


_SIZES = ("Shape", "ShapeN", "Size", "Rank", "TensorListReserve", "TensorListElementShape", "TensorListLength")
"""Operations that look at how large a tensor is, not at what it holds."""


def ordered(graph: Any, found: Mapping[str, Composite] | None = None) -> list[Any]:
    """The operations that the outputs are made from, each after its inputs, or those of the composite it completes.

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
            waiting.extend((x.op, False) for x in (found or {}).get(operation.name, operation).inputs)
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
