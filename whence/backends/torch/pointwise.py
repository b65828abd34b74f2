"""Elementwise functions of one tensor, followed through a forward pass: ``x * torch.sigmoid(x)`` is one, of x."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
        self._choices: dict[Key, Tensor] = {}

    def depends(self, x: Tensor) -> bool:
        """Whether a truth value or whole number was made from what depends on the input, element by element."""
        return key_of(x) in self._calls

    def add_choice(self, output: Tensor) -> None:
        """Remember truth values or whole numbers that were made from what depends on the input, in whatever way."""
        self._choices[key_of(output)] = output

    def is_choice(self, x: Tensor) -> bool:
        """Whether it is one of these: what it chooses among is then not linear in the data."""
        return key_of(x) in self._choices

    def root(self, call: Call, data: Sequence[int]) -> Key | None:
        """The nearest tensor that the call's ``data`` are elementwise functions of; None where there is none."""
        shapes = [x.shape for x in call.tensors]
        shape = shapes[data[0]]
        if any([shapes[i] != shape for i in data]):
            return None
        # the constants of a normalisation are one per channel
        if not all([_fits(s, shape) for s in shapes if s != shape]) and canonical(call.function) != "batch_norm":
            return None
        keys = [key_of(call.tensors[i]) for i in data]
        self._tensors.update(zip(keys, (call.tensors[i] for i in data), strict=True))
        if len(keys) == 1 and call.tensors[data[0]].requires_grad:
            return keys[0]
        found = self._known.root(keys, self._holds)
        return found if isinstance(found, tuple) else None

    def _holds(self, key: Any) -> bool:
        x = self._tensors[key]
        return bool(x.requires_grad) and x._version == key[1]

    def chain(self, key: Key) -> tuple[Key, ...]:
        """The value, and all that it is an elementwise function of, nearest first."""
        return self._known.chain(key)  # type: ignore[return-value]

    def tensor(self, root: Key) -> Tensor:
        """The tensor of that name."""
        return self._tensors[root]

    def function(self, call: Call, root: Key) -> tuple[Callable[[Tensor], tuple[Tensor, ...]], bool]:
        """The call as a function of the root alone, and whether some step of it has a kink."""
        steps: list[tuple[Call, list[int | Tensor]]] = []
        places = {root: 0}

        def enter(call: Call, keys: Sequence[Key]) -> int:
            # what was made from the root is not kept, since that would keep what the function is for
            sources = [place_of(key, x) for key, x in zip(keys, call.tensors, strict=True)]
            steps.append((call.emptied(), sources))
            return len(steps)

        def place_of(key: Key, tensor: Tensor) -> int | Tensor:
            if key not in places and key in self._calls:
                places[key] = enter(*self._calls[key])
            return places.get(key, tensor)

        enter(call, [key_of(x) for x in call.tensors])
        return _Steps(steps), any(canonical(step.function) in KINKED for step, _ in steps)

    def add(self, output: Tensor, call: Call, keys: list[Key], root: Key) -> None:
        """Remember what a call gave, unless that is what it was given: a conversion to the type that it has, say.

        ``keys`` name what it was given; the call may have written on the first of them.
        """
        key = key_of(output)
        if key in keys:
            return
        self._known.add(key, root)
        self._tensors[key], self._calls[key] = output, (call, keys)


@dataclass
class _Steps:
    """Calls one after another; each reads earlier values, the first being what is given, and constants."""

    steps: Sequence[tuple[Call, Sequence[int | Tensor]]]

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        values = [x]
        for call, sources in self.steps:
            values.append(call(*(values[at] if isinstance(at, int) else at for at in sources)))
        return floating(values[-1])


def _fits(shape: torch.Size, whole: torch.Size) -> bool:
    """Whether a tensor of that shape is broadcast to the whole."""
    missing = len(whole) - len(shape)
    return missing >= 0 and all(n in (1, m) for n, m in zip(shape, whole[missing:], strict=True))
