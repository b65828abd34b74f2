"""Calls of torch functions as pure functions of their tensors, and tensors kept for a rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import repeat
from typing import Any, NamedTuple

import torch

from whence.core.errors import CoverageError
from whence.core.ops import Tensor
from whence.core.rule import OpCall, Pullback
from whence.core.tree import sequence


class Kept:
    """A detached tensor's value now; written on later, it is gone."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.version = tensor, tensor._version

    @property
    def lasts(self) -> bool:
        """Whether nobody has written on it."""
        return bool(self.tensor._version == self.version)

    @property
    def value(self) -> Tensor:
        """The value when it was kept."""
        if not self.lasts:
            raise CoverageError(
                "a backward rule",
                received="an operation whose input was written on in place afterwards",
                valid="a model that does not write on it, such as y = y + x in the place of y += x",
            )
        return self.tensor


class Call:
    """A torch function on its arguments, the tensors among them in order."""

    def __init__(
        self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], tensors: Sequence[Tensor]
    ) -> None:
        self.function, self.args, self.kwargs, self.tensors = function, args, kwargs, tensors

    @property
    def written(self) -> bool:
        """Whether the function writes on its first tensor."""
        return writes(self.function)

    def __call__(self, *tensors: Tensor) -> Any:
        """The function with other tensors, which it leaves as they are."""
        if self.written:
            tensors = (tensors[0].clone(), *tensors[1:])
        others = iter(tensors)
        args = _replaced(self.args, others)
        return self.function(*args, **_named(self.kwargs, others)) if self.kwargs else self.function(*args)

    def emptied(self) -> Call:
        """The same without its tensors, which may not be kept alive together with what made them."""
        nothing = repeat(_NOTHING)
        return Call(self.function, _replaced(self.args, nothing), _named(self.kwargs, nothing), ())

    def as_function(self) -> Callable[..., tuple[Tensor, ...]]:
        """What it gives of floating-point tensors, as a function of its tensors."""
        empty = self.emptied()
        return lambda *tensors: floating(empty(*tensors))


@cache
def writes(function: Any) -> bool:
    """Whether a torch function writes on its first tensor, by its name."""
    name = str(getattr(function, "__name__", ""))
    return (name.endswith("_") and not name.endswith("__")) or (name.startswith("__i") and name[3:-2] in _OPERATORS)


_OPERATORS = ("add", "sub", "mul", "truediv", "pow", "and", "or", "xor", "div", "floordiv", "mod", "matmul")
_NOTHING = torch.empty(0)
"""Holds a tensor's place among arguments."""


def tensors_of(tree: Any) -> list[Tensor]:
    """Tensors among arguments or outputs, in sequences and mappings too."""
    if isinstance(tree, torch.Tensor):
        return [tree]
    found: list[Tensor] = []
    if isinstance(tree, _CONTAINERS):
        _gather(tree, found)
    return found


def _gather(tree: Any, found: list[Tensor]) -> None:
    for part in tree.values() if isinstance(tree, dict) else tree:
        if isinstance(part, torch.Tensor):
            found.append(part)
        elif isinstance(part, _CONTAINERS):
            _gather(part, found)


_CONTAINERS = (tuple, list, dict)


def _replaced(parts: Any, tensors: Iterator[Tensor]) -> Any:
    """A tuple or list of arguments with other tensors, in order."""
    found = [
        next(tensors) if isinstance(part, torch.Tensor)
        else part if not isinstance(part, _CONTAINERS)
        else _named(part, tensors) if isinstance(part, dict)
        else _replaced(part, tensors)
        for part in parts
    ]  # fmt: skip
    return tuple(found) if type(parts) is tuple else sequence(type(parts), found)


def _named(parts: Mapping[str, Any], tensors: Iterator[Tensor]) -> dict[str, Any]:
    """A mapping of arguments with other tensors, in order."""
    return dict(zip(parts, _replaced(tuple(parts.values()), tensors), strict=True))


def floating(output: Any) -> tuple[Tensor, ...]:
    """The tensors of an output that have a derivative."""
    if isinstance(output, torch.Tensor):
        return (output,) if output.is_floating_point() else ()
    return tuple(t for t in tensors_of(output) if t.is_floating_point())


@dataclass
class TorchOp(OpCall):
    """One torch operation on its tensors; ``function`` gives its floating-point outputs."""

    kind: str
    name: str
    params: Mapping[str, Any]
    data: tuple[int, ...]
    function: Callable[..., tuple[Tensor, ...]] = floating
    """Known when the operation runs under a rule."""
    kept_inputs: Sequence[Kept] = ()
    kept_outputs: Sequence[Kept] = ()
    reference: TorchOp | None = None
    early: tuple[int, ...] = ()
    present: Mapping[int, Tensor] = field(default_factory=dict)
    last: bool = True
    layers: tuple[str, ...] = ()
    graph: Graph | None = None
    """Of the forward pass, where that is the function itself."""
    pullback: Callable[..., tuple[Tensor, ...]] | None = None
    """Its derivative, where that is known without a graph."""
    parts: tuple[TorchOp, ...] = ()
    """An affine operation on the same inputs and a function of what it gives, of which the operation consists."""

    @property
    def inputs(self) -> tuple[Tensor, ...]:  # type: ignore[override]
        return tuple(kept.value for kept in self.kept_inputs)

    @property
    def outputs(self) -> tuple[Tensor, ...]:  # type: ignore[override]
        if all(kept.lasts for kept in self.kept_outputs):
            return tuple(kept.tensor for kept in self.kept_outputs)
        return self.call(*self.inputs)

    @property
    def non_negative(self) -> bool:  # type: ignore[override]
        x = self.kept_inputs[self.data[0]].value
        # a device of its own would have to be waited for
        return x.device.type == "cpu" and x.numel() > 0 and bool(torch.amin(x) >= 0)

    @property
    def ref_inputs(self) -> tuple[Tensor, ...] | None:  # type: ignore[override]
        return None if self.reference is None else self.reference.inputs

    @property
    def ref_outputs(self) -> tuple[Tensor, ...] | None:  # type: ignore[override]
        return None if self.reference is None else self.reference.outputs

    @property
    def steps(self) -> tuple[TorchOp, ...]:
        at, values, values0 = [], self.inputs, self.ref_inputs
        for part in self.parts:
            before = None if values0 is None else part.at(values0, None)
            at.append(part.at(values, before))
            values, values0 = part.call(*values), None if values0 is None else part.call(*values0)
        return tuple(at)

    def at(self, inputs: Sequence[Tensor], reference: TorchOp | None) -> TorchOp:
        """The operation at other inputs."""
        return replace(self, kept_inputs=[Kept(x) for x in inputs], reference=reference)

    def keep(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], graph: Graph | None) -> None:
        """Remember the values of a forward pass, in detached tensors."""
        self.kept_inputs, self.kept_outputs = [Kept(x) for x in inputs], [Kept(y) for y in outputs]
        self.graph = graph

    def call(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return self.function(*inputs)

    def vjp(self, inputs: Sequence[Tensor], cotangents: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
        if self.pullback is not None and all(x.dtype == cotangents[0].dtype for x in inputs):
            pulled = self.pullback(*inputs, *cotangents)
            return tuple(g if i in self.data else None for i, g in enumerate(pulled))
        return self._pulled(self._graph_at(inputs), cotangents)

    def linearized(self, inputs: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], Pullback]:
        if self.pullback is not None:
            return super().linearized(inputs)
        graph = self._graph_at(inputs)
        return tuple(y.detach() for y in graph.outputs), lambda cotangents: self._pulled(graph, cotangents)

    def _pulled(self, graph: Graph, cotangents: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
        pairs = [(y, g) for y, g in zip(graph.outputs, cotangents, strict=True) if y.requires_grad]
        found = torch.autograd.grad(
            [y for y, _ in pairs], [graph.inputs[i] for i in self.data], [g for _, g in pairs],
            retain_graph=True, allow_unused=True, materialize_grads=True,
        )  # fmt: skip
        by_input = dict(zip(self.data, found, strict=True))
        return tuple(by_input.get(i) for i in range(len(graph.inputs)))

    def _graph_at(self, inputs: Sequence[Tensor]) -> Graph:
        """The operation's graph: at its own inputs and those of the reference it is there already."""
        for op in (self, self.reference):
            if op is not None and op.graph is not None and op.holds(inputs):
                return op.graph
        with torch.enable_grad():
            at = leaves_at(inputs, self.data)
            return Graph(at, self.function(*at))

    def holds(self, inputs: Sequence[Tensor]) -> bool:
        """Whether these are the tensors that were kept, and their outputs still are what they were."""
        same = all(x is kept.tensor for x, kept in zip(inputs, self.kept_inputs, strict=True))
        return same and all(kept.lasts for kept in self.kept_outputs)


class Graph(NamedTuple):
    """Tensors, and what a function made from them with its derivative recorded."""

    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]


def leaves_at(inputs: Sequence[Tensor], data: Sequence[int]) -> list[Tensor]:
    """The tensors by themselves, those at ``data`` to be differentiated by."""
    return [x.detach().requires_grad_(i in data) for i, x in enumerate(inputs)]
