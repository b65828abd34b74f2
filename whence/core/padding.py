"""Zeros that a model pads with by an operation of its own, told from inputs up to the first affine operations.

Padding inside a convolution is none of its inputs. So that padding in front of one is none either, a mask goes along
with what was padded: one where a value comes from the attributed input or is another constant than zero, else zero.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import reduce
from operator import or_

from whence.core.ops import Ops, Tensor
from whence.core.rule import OpCall


class Padding:
    """The masks of what was padded, by the ``key`` of a tensor, which is held, so that no identity is used twice."""

    def __init__(self, ops: Ops, key: Callable[[Tensor], Hashable] = id) -> None:
        self._ops, self._key = ops, key
        self._masks: dict[Hashable, tuple[Tensor, Tensor]] = {}

    def present(self, inputs: Sequence[Tensor], early: Sequence[int]) -> dict[int, Tensor]:
        """``OpCall.present`` of an operation with these inputs."""
        keys = {i: self._key(inputs[i]) for i in early} if self._masks else {}
        return {i: self._masks[key][1] for i, key in keys.items() if key in self._masks}

    def hand_on(self, x: Tensor, y: Tensor) -> None:
        """What is known of x holds for y."""
        for mask in self.present((x,), (0,)).values():
            self._masks[self._key(y)] = y, mask

    def follow(self, op: OpCall, outputs: Sequence[Tensor], *, pads: bool) -> None:
        """Enter what an operation gave, if it ``pads`` or was given what was padded."""
        ops = self._ops
        if not (pads or op.present) or op.early != op.data or not all(map(ops.is_floating, outputs)):
            return
        for y, comes in zip(outputs, self._comes(op), strict=False):
            # what nothing comes to is the same for all inputs: zero, or a constant that the model put there
            self._masks[self._key(y)] = y, ops.where(comes | (y != 0), ops.ones_like(y), ops.zeros_like(y))

    def _comes(self, op: OpCall) -> Sequence[Tensor]:
        """Of each output, where some value that is present comes to it; none where that is not known."""
        match op.kind:
            case "elementwise" | "relu" | "stop_gradient" if len(op.data) == 1:
                return [op.present[op.data[0]] != 0]
            case "linear":
                nothing = self._at(op, None)
                # one input at a time, so that none takes away what another one gives
                found = ([y != z for y, z in zip(self._at(op, i), nothing, strict=True)] for i in op.data)
                return [reduce(or_, each) for each in zip(*found, strict=True)]
        return []

    def _at(self, op: OpCall, one: int | None) -> Sequence[Tensor]:
        """The operation at the mask of one input, all others that carry data being zero."""

        def given(i: int, x: Tensor) -> Tensor:
            if i == one:
                return op.present[i] if i in op.present else self._ops.ones_like(x)
            return self._ops.zeros_like(x) if i in op.data else x

        return op.call(*(given(i, x) for i, x in enumerate(op.inputs)))
