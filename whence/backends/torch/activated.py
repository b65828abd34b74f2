"""Elementwise functions of what affine operations give, each presented together with its affine operation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from whence.backends.torch.pointwise import Composed, Key, key_of
from whence.backends.torch.recorded import Call, TorchOp
from whence.core.ops import Tensor


class Activated:
    """The affine operations met so far by their outputs, which are held, so that no identity is used twice."""

    def __init__(self, composed: Composed) -> None:
        self._composed = composed
        self._met: dict[Key, tuple[TorchOp, Call, Tensor]] = {}

    def add(self, output: Tensor, call: Call, op: TorchOp) -> None:
        """Remember the output of an affine operation."""
        if op.data[0] != op.params.get("bias"):
            self._met[key_of(output)] = replace(op, function=call.as_function()), call, output

    def add_moved(self, output: Tensor, call: Call) -> None:
        """A product in another shape counts as one."""
        if key_of(call.tensors[0]) in self._met:
            affine, product, _ = self._met[key_of(call.tensors[0])]
            before, move = affine.function, call.emptied()
            moved = replace(affine, function=lambda *inputs: (move(*before(*inputs)),))
            self._met[key_of(output)] = moved, product, output

    def completed(self, op: TorchOp, call: Call, root: Key) -> tuple[TorchOp, Sequence[Tensor]] | None:
        """The call, an elementwise function of the root, with the affine operation before it; and their inputs."""
        key = next((key for key in self._composed.chain(root) if key in self._met), None)
        if key is None:
            return None
        affine, product, _ = self._met[key]
        function, kinked = self._composed.function(call, key)
        kind = op.kind if key == root else "elementwise"
        activation = TorchOp(kind, op.name, {"kinked": kinked}, (0,), function)

        def both(*inputs: Tensor) -> tuple[Tensor, ...]:
            return function(*affine.function(*inputs))

        name = f"{affine.name}, {op.name}"
        return TorchOp("activated", name, {}, affine.data, both, parts=(affine, activation)), product.tensors
