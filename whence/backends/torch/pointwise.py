"""Elementwise functions of one tensor, followed through a forward pass: ``x * torch.sigmoid(x)`` is one, of x."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from whence.backends.torch.kinds import KINKED, canonical
from whence.backends.torch.recorded import Call, floating
from whence.core.ops import Tensor
from whence.core.pointwise import Pointwise

Key = tuple[int, int]
"""A tensor's identity and how often it was written on."""


def key_of(x: Tensor) -> Key:
    """Names the value that a tensor holds now."""
    return id(x), x._version


class Composed:
    """The elementwise calls met so far; their tensors are held, so that no identity is used twice."""

    def __init__(self) -> None:
        self._known = Pointwise()
        self._tensors: dict[Key, Tensor] = {}
        self._calls: dict[Key, tuple[Call, list[Key]]] = {}

    def depends(self, x: Tensor) -> bool:
        """Whether a truth value or whole number was made from what depends on the input, element by element."""
        return key_of(x) in self._calls

    def root(self, call: Call, data: Sequence[int]) -> Key | None:
        """The nearest tensor that the call's ``data`` are elementwise functions of; None where there is none."""
        shapes = {call.tensors[i].shape for i in data}
        if len(shapes) > 1 or any(torch.broadcast_shapes(x.shape, *shapes) not in shapes for x in call.tensors):
            return None
        keys = [key_of(call.tensors[i]) for i in data]
        self._tensors.update(zip(keys, (call.tensors[i] for i in data), strict=True))
        found = self._known.root(keys, self._holds)
        return found if isinstance(found, tuple) else None

    def _holds(self, key: Any) -> bool:
        x = self._tensors[key]
        return bool(x.requires_grad) and x._version == key[1]

    def tensor(self, root: Key) -> Tensor:
        """The tensor of that name."""
        return self._tensors[root]

    def function(self, call: Call, root: Key) -> tuple[Callable[[Tensor], tuple[Tensor, ...]], bool]:
        """The call as a function of the root alone, and whether some step of it has a kink."""
        keys = [key_of(x) for x in call.tensors]
        names: set[str] = set()
        self._steps(call, keys, root, names)

        def run(x: Tensor) -> tuple[Tensor, ...]:
            values = {root: x}
            return floating(call(*(self._value(k, t, values) for k, t in zip(keys, call.tensors, strict=True))))

        return run, bool(names & KINKED)

    def _value(self, key: Key, tensor: Tensor, values: dict[Key, Tensor]) -> Tensor:
        if key not in values and key in self._calls:
            call, keys = self._calls[key]
            values[key] = call(*(self._value(k, t, values) for k, t in zip(keys, call.tensors, strict=True)))
        return values.get(key, tensor)

    def _steps(self, call: Call, keys: Sequence[Key], root: Key, names: set[str]) -> None:
        names.add(canonical(call.function))
        for key in keys:
            if key != root and key in self._calls:
                self._steps(*self._calls[key], root, names)

    def add(self, output: Tensor, call: Call, root: Key) -> None:
        """Remember what a call gave."""
        key = key_of(output)
        self._known.add(key, root)
        self._tensors[key], self._calls[key] = output, (call, [key_of(x) for x in call.tensors])
