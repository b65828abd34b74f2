"""What an NNX module is now, without a walk through all of it while nothing but its arrays has changed.

``nnx.split`` takes milliseconds for a network of some size. What it found is good for as long as every module inside
has the attributes that it had, one by one the same objects; then only the variables' arrays are read again.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from flax import nnx

from whence.backends.jax.static import Static, is_array

State = tuple[Static, list[Any]]
PLAIN = (type(None), bool, int, float, str, bytes, np.dtype, np.generic)


@dataclass(frozen=True)
class Unchanged:
    """A module's attributes as they were."""

    module: Callable[[], Any]
    names: tuple[str, ...]
    identities: tuple[int, ...]
    held: tuple[Any, ...]

    @classmethod
    def of(cls, module: Any) -> Self:
        attributes = vars(module)
        values = tuple(attributes.values())
        return cls(weakref.ref(module), tuple(attributes), tuple(map(id, values)), tuple(map(_held, values)))

    @property
    def holds(self) -> bool:
        """Whether the module has the same attributes still: an identity is one as long as its object lives."""
        module = self.module()
        if module is None:
            return False
        attributes = vars(module)
        return (
            tuple(attributes) == self.names
            and tuple(map(id, attributes.values())) == self.identities
            and all(not isinstance(held, weakref.ref) or held() is not None for held in self.held)
        )


@dataclass(frozen=True)
class Split:
    """What a module was split into; ``variables`` in the order of its arrays."""

    static: Static
    modules: tuple[Unchanged, ...]
    variables: tuple[nnx.Variable[Any], ...]
    metadata: tuple[Any, ...]

    def state(self) -> State | None:
        """The module's state now; None if more than its arrays has changed."""
        if not all(module.holds for module in self.modules):
            return None
        if any(_metadata(v) != known for v, known in zip(self.variables, self.metadata, strict=True)):
            return None
        arrays = [v.get_raw_value() for v in self.variables]
        return (self.static, arrays) if all(map(is_array, arrays)) else None


def split(module: Any, known: Callable[[Static], Static]) -> tuple[State, Split | None]:
    """A module's state, and what tells it again; None where something inside can change without being seen.

    ``known`` gives the equal one of an earlier call, which compiled code recognises without comparing.
    """
    graph, state = nnx.split(module)
    variables, arrays = Static.split(state)
    static = known(Static((graph, variables)))
    try:
        return (static, arrays), _watched(module, static, arrays)
    except _UnseenError:
        return (static, arrays), None


class _UnseenError(Exception):
    """A value that can change without becoming another one."""


def _watched(module: Any, static: Static, arrays: list[Any]) -> Split:
    if not hasattr(nnx, "Pytree"):  # before Flax 0.11 lists and dicts stood among the attributes
        raise _UnseenError
    nodes = [node for _, node in nnx.iter_graph(module)]
    by_array = {id(node.get_raw_value()): node for node in nodes if isinstance(node, nnx.Variable)}
    variables = tuple(by_array[id(array)] for array in arrays if id(array) in by_array)
    if not len(by_array) == len(variables) == len(arrays) == len(set(map(id, arrays))):
        raise _UnseenError
    inside = tuple(Unchanged.of(node) for node in nodes if isinstance(node, nnx.Pytree))
    return Split(static, inside, variables, tuple(map(_metadata, variables)))


def _metadata(variable: nnx.Variable[Any]) -> dict[str, Any]:
    return dict(variable.get_metadata())


def _held(value: Any) -> Any:
    """What keeps an attribute's identity its own. Modules are held weakly, all else is part of the split as well."""
    if isinstance(value, nnx.Pytree):
        return weakref.ref(value)
    if isinstance(value, (list, dict, set, tuple)) and not _is_plain(value):
        raise _UnseenError
    return value


def _is_plain(value: Any) -> bool:
    """Whether a value neither changes nor holds anything that does."""
    return isinstance(value, PLAIN) or (isinstance(value, tuple) and all(map(_is_plain, value)))
