"""Calls of torch functions as pure functions of their tensors, and tensors kept for a rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

from whence.core.errors import CoverageError
from whence.core.ops import Tensor
from whence.core.rule import OpCall


class Kept:
    """A tensor's value now; written on later, it is made again, or missed with an error."""

    def __init__(self, tensor: Tensor, again: Callable[[], Tensor] | None = None) -> None:
        self.tensor, self.version, self.again = tensor.detach(), tensor._version, again

    @property
    def value(self) -> Tensor:
        """The value when it was kept."""
        if self.tensor._version == self.version:
            return self.tensor
        if self.again is None:
            raise CoverageError(
                "a backward rule",
                received="an operation whose input was written on in place afterwards",
                valid="a model that does not write on it, such as y = y + x in the place of y += x",
            )
        return self.again()


class Call:
    """A torch function on its arguments, the tensors among them in order."""

    def __init__(self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.function, self.args, self.kwargs = function, args, kwargs
        leaves, self._form = tree_flatten((args, dict(kwargs)))
        self._at = [i for i, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
        self.tensors: tuple[Tensor, ...] = tuple(leaves[i] for i in self._at)
        self._others = [None if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]

    def __call__(self, *tensors: Tensor) -> Any:
        """The function with other tensors."""
        leaves = list(self._others)
        for i, tensor in zip(self._at, tensors, strict=True):
            leaves[i] = tensor
        args, kwargs = tree_unflatten(leaves, self._form)
        return self.function(*args, **kwargs)


def floating(output: Any) -> tuple[Tensor, ...]:
    """The tensors of an output that have a derivative."""
    return tuple(t for t in tree_flatten(output)[0] if isinstance(t, torch.Tensor) and t.is_floating_point())


@dataclass
class TorchOp(OpCall):
    """One torch operation on its tensors; ``function`` gives its floating-point outputs."""

    kind: str
    name: str
    params: Mapping[str, Any]
    data: tuple[int, ...]
    function: Callable[..., tuple[Tensor, ...]]
    kept_inputs: Sequence[Kept] = ()
    kept_outputs: Sequence[Kept] = ()
    reference: TorchOp | None = None
    form: Any = None
    """The structure of what the function returned."""

    @property
    def inputs(self) -> tuple[Tensor, ...]:  # type: ignore[override]
        return tuple(kept.value for kept in self.kept_inputs)

    @property
    def outputs(self) -> tuple[Tensor, ...]:  # type: ignore[override]
        return tuple(kept.value for kept in self.kept_outputs)

    @property
    def ref_inputs(self) -> tuple[Tensor, ...] | None:  # type: ignore[override]
        return None if self.reference is None else self.reference.inputs

    @property
    def ref_outputs(self) -> tuple[Tensor, ...] | None:  # type: ignore[override]
        return None if self.reference is None else self.reference.outputs

    def keep(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """Remember the values of a forward pass."""
        self.kept_inputs = [Kept(x) for x in inputs]
        self.kept_outputs = [Kept(y, partial(self._output, i)) for i, y in enumerate(outputs)]

    def _output(self, i: int) -> Tensor:
        return self.call(*self.inputs)[i]

    def call(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return self.function(*inputs)

    def vjp(self, inputs: Sequence[Tensor], cotangents: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
        with torch.enable_grad():
            at = [x.detach().requires_grad_(i in self.data) for i, x in enumerate(inputs)]
            outputs = self.function(*at)
            pairs = [(y, g) for y, g in zip(outputs, cotangents, strict=True) if y.requires_grad]
            wanted = [at[i] for i in self.data]
            found = torch.autograd.grad(
                [y for y, _ in pairs], wanted, [g for _, g in pairs], allow_unused=True, materialize_grads=True
            )
        by_input = dict(zip(self.data, found, strict=True))
        return tuple(by_input.get(i) for i in range(len(inputs)))
