"""Inputs come as one tensor, or a tuple, list or dict of them; inside, they are a tuple of leaves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whence.core.errors import ShapeError


@dataclass(frozen=True)
class Structure:
    """How a user's inputs were put together, so that results can be put together alike."""

    kind: type
    keys: tuple[Any, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """One readable name per leaf: ``input``, ``input[1]``, ``input['ids']``."""
        return ("input",) if self.kind is object else tuple(f"input[{key!r}]" for key in self.keys)

    def unflatten(self, leaves: Sequence[Any]) -> Any:
        """Put leaves back into the user's structure."""
        if self.kind is object:
            return leaves[0]
        if self.kind is dict:
            return dict(zip(self.keys, leaves, strict=True))
        return sequence(self.kind, leaves)

    def matches(self, value: Any) -> bool:
        """Whether a value, a baseline say, is put together like the inputs."""
        return flatten(value)[1] == self if isinstance(value, (tuple, list, Mapping)) else self.kind is object


SINGLE = Structure(object, ())
"""One tensor by itself."""


def sequence(kind: type, items: Iterable[Any]) -> Any:
    """Items as a tuple, a list or a named tuple."""
    return kind(*items) if hasattr(kind, "_fields") else kind(items)


def flatten(value: Any) -> tuple[tuple[Any, ...], Structure]:
    """Split inputs into leaves and structure; other mappings, such as a tokenizer's output, become a dict.

    Anything that is no tuple, list or mapping is one leaf.
    """
    if isinstance(value, Mapping):
        leaves, structure = tuple(value.values()), Structure(dict, tuple(value))
    elif isinstance(value, (tuple, list)):
        leaves, structure = tuple(value), Structure(type(value), tuple(range(len(value))))
    else:
        return (value,), SINGLE
    if not leaves or any(isinstance(leaf, (tuple, list, Mapping)) for leaf in leaves):
        raise ShapeError(
            "inputs must be tensors in one flat structure",
            received=_describe(value),
            valid="a tensor, or a non-empty tuple, list or dict of tensors",
        )
    return leaves, structure


def _describe(value: Any) -> str:
    items = value.values() if isinstance(value, Mapping) else value
    return f"{type(value).__name__} of {[type(item).__name__ for item in items]}"
