"""Where values of a traced graph come from: the attributed input, and an affine operation before them or none."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from whence.backends.tensorflow.composites import Composite
from whence.backends.tensorflow.kinds import kind_of
from whence.backends.tensorflow.marks import PUT, SCOPE, edit_of
from whence.core.ahead import Ahead
from whence.core.errors import CapabilityError

CALLS = ("PartitionedCall", "StatefulPartitionedCall")
BRANCHES = ("If", "StatelessIf", "Case", "StatelessCase")
LOOPS = ("While", "StatelessWhile")


class Where(NamedTuple):
    """What is around a graph or an operation: which inputs an affine operation precedes, layers, what comes after."""

    late: Sequence[bool]
    layers: tuple[int, ...] = ()
    ahead: Sequence[Ahead] = ()
    """What comes after its outputs."""
    statistic: int | None = None
    """The operand of a product or quotient that is a statistic of a normalisation."""
    non_negative: bool = False
    """Whether no number of its data is below zero."""

    def inside_branch(self) -> Where:
        """The same for a branch, which does not read the choice."""
        return Where(self.late[1:], self.layers, self.ahead)

    def at(self, operation: Any) -> tuple[int, ...]:
        """The layers, by number, that an operation runs in."""
        operations = operation.operations if isinstance(operation, Composite) else [operation]
        # TensorFlow makes a name unique by another number
        found = re.findall(SCOPE + r"(\d+)(?:_\d+)?/", "/".join(inner.name for inner in operations))
        return tuple(dict.fromkeys((*self.layers, *map(int, found))))


def reached_from(graph: Any, order: Sequence[Any], data: Sequence[bool]) -> set[str]:
    """Names of the tensors that depend on the inputs marked in ``data``."""
    names = {x.name for x, depends in zip(graph.inputs, data, strict=True) if depends}
    for operation in order:
        reaches = any(x.name in names for x in operation.inputs) or edit_of(operation) is not None
        if operation.type not in _SIZES and reaches:
            names.update(x.name for x in operation.outputs)
    return names


_SIZES = ("Shape", "ShapeN", "Size", "Rank", "TensorListReserve", "TensorListElementShape", "TensorListLength")
"""Operations that look at how large a tensor is, not at what it holds."""


def ordered(graph: Any, found: Mapping[str, Composite] | None = None, also: Sequence[Any] = ()) -> list[Any]:
    """The operations that the outputs are made from, each after its inputs, or those of the composite it completes.

    ``also`` names further ones.

    The graph's own order will not do: a loop that was differentiated before has inputs that were made after it.
    """
    order: list[Any] = []
    seen: set[str] = set()
    waiting = [(operation, False) for operation in (*also, *(x.op for x in graph.outputs))]
    while waiting:
        operation, has_inputs = waiting.pop()
        if has_inputs:
            order.append(operation)
        elif operation.name not in seen:
            seen.add(operation.name)
            waiting.append((operation, True))
            waiting.extend((x.op, False) for x in inputs_of((found or {}).get(operation.name, operation)))
    return order


def inputs_of(operation: Any) -> Sequence[Any]:
    """What an operation or composite reads: nothing where another value comes in its place."""
    found: Sequence[Any] = () if not isinstance(operation, Composite) and _is_put(operation) else operation.inputs
    return found


def _is_put(operation: Any) -> bool:
    """Whether another value comes in the operation's place."""
    edit = edit_of(operation)
    return edit is not None and edit.kind == PUT


def behind_affine(graph: Any, order: Sequence[Any], reached: set[str], late: Sequence[bool]) -> set[str]:
    """Names of the tensors on the path that an affine operation comes before, ``late`` being said of the inputs."""
    names = {x.name for x, behind in zip(graph.inputs, late, strict=True) if behind}
    for operation in order:
        depends = [x.name in reached for x in operation.inputs]
        behind = [x.name in names for x in operation.inputs]
        if any(depends) and operation.outputs[0].name not in names and not _is_put(operation):
            after = _late_outputs(graph, operation, depends, behind)
            names.update(x.name for x, is_late in zip(operation.outputs, after, strict=False) if is_late)
    return names


def _late_outputs(graph: Any, operation: Any, depends: list[bool], behind: list[bool]) -> list[bool]:
    def through(inner: Any, depends: list[bool], behind: list[bool]) -> list[bool]:
        order = ordered(inner)
        found = behind_affine(inner, order, reached_from(inner, order, depends), behind)
        return [x.name in found for x in inner.outputs]

    if operation.type in CALLS:
        return through(function(graph, operation.get_attr("f").name), depends, behind)
    if operation.type in BRANCHES:
        found = [through(branch, depends[1:], behind[1:]) for branch in branches(graph, operation)]
        return [any(each) for each in zip(*found, strict=True)]
    if operation.type in LOOPS:
        return late_in_loop(function(graph, operation.get_attr("body").name), depends, behind)
    data = [i for i, x in enumerate(operation.inputs) if depends[i] and x.dtype.is_floating]
    is_late = any(behind) or bool(data and kind_of(operation, data)[0] == "affine")
    return [is_late] * len(operation.outputs)


def late_in_loop(body: Any, depends: list[bool], behind: list[bool]) -> list[bool]:
    """Which values of a loop an affine operation comes before, after any number of turns."""
    order = ordered(body)
    while True:
        reached = reached_from(body, order, depends)
        late = behind_affine(body, order, reached, behind)
        before = depends, behind
        depends = [was or x.name in reached for was, x in zip(depends, body.outputs, strict=True)]
        behind = [was or x.name in late for was, x in zip(behind, body.outputs, strict=True)]
        if (depends, behind) == before:
            return behind


def ahead_of(graph: Any, order: Sequence[Any], reached: set[str], outputs: Sequence[Ahead]) -> Mapping[str, Ahead]:
    """What comes after tensors, by name, from what comes after the outputs."""
    found: dict[str, Ahead] = defaultdict(lambda: Ahead.NO_SCORE)

    def add(tensors: Sequence[Any], ahead: Sequence[Ahead]) -> None:
        found.update((x.name, max(found[x.name], each)) for x, each in zip(tensors, ahead, strict=False))

    add(graph.outputs, outputs)
    for operation in reversed(order):
        after = [found[x.name] for x in operation.outputs]
        if any(after) and not _is_put(operation):
            add(operation.inputs, _ahead_inputs(graph, operation, [x.name in reached for x in operation.inputs], after))
    return found


def _ahead_inputs(graph: Any, operation: Any, depends: list[bool], after: Sequence[Ahead]) -> list[Ahead]:
    def through(inner: Any, depends: list[bool]) -> list[Ahead]:
        order = ordered(inner)
        found = ahead_of(inner, order, reached_from(inner, order, depends), after)
        return [found[x.name] for x in inner.inputs]

    if operation.type in CALLS:
        return through(function(graph, operation.get_attr("f").name), depends)
    if operation.type in BRANCHES:
        found = [through(branch, depends[1:]) for branch in branches(graph, operation)]
        return [Ahead.NO_SCORE, *map(max, zip(*found, strict=True))]
    if operation.type in LOOPS:
        return ahead_in_loop(function(graph, operation.get_attr("body").name), depends, after)
    data = [i for i, x in enumerate(operation.inputs) if depends[i] and x.dtype.is_floating]
    ahead = Ahead.AFFINE if data and kind_of(operation, data)[0] == "affine" else max(after)
    return [ahead if has_data else Ahead.NO_SCORE for has_data in depends]


def ahead_in_loop(body: Any, depends: list[bool], after: Sequence[Ahead]) -> list[Ahead]:
    """What comes after the values of a loop, after any number of turns; ``depends`` as after all of them."""
    order = ordered(body)
    reached = reached_from(body, order, depends)
    while True:
        found = ahead_of(body, order, reached, after)
        turned = [max(each, found[x.name]) for each, x in zip(after, body.inputs, strict=True)]
        if turned == after:
            return turned
        after = turned


def branches(graph: Any, operation: Any) -> list[Any]:
    """The graphs that a branching operation chooses from, by number."""
    if "If" in operation.type:
        return [function(graph, operation.get_attr(name).name) for name in ("else_branch", "then_branch")]
    return [function(graph, branch.name) for branch in operation.get_attr("branches")]


def function(graph: Any, name: str) -> Any:
    """The graph of a function that is called by name."""
    found = graph._get_function(name)
    inner = getattr(found, "graph", None)
    if inner is None:
        raise CapabilityError(
            "backward rules inside a called function",
            received=f"{name!r}, which has no graph",
            valid="functions that were traced by tf.function",
        )
    return inner
