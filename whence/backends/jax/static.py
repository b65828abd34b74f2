"""Pytrees split into arrays, which compiled code takes as arguments, and the rest, which it is compiled for."""

from __future__ import annotations

from typing import Any, Self

import jax
import numpy as np


class Static:
    """A value that compiled code is specialised to: compared by its own equality, hashable whatever it is."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self._hash: int | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Static):
            return False
        try:
            return bool(self.value is other.value or self.value == other.value)
        except Exception:  # such as arrays, whose comparison is no truth value: compile again
            return False

    def __hash__(self) -> int:
        if self._hash is None:
            try:
                self._hash = hash(self.value)
            except TypeError:
                self._hash = 0
        return self._hash

    @classmethod
    def split(cls, tree: Any) -> tuple[Self, list[Any]]:
        """The structure with everything that is no array, and the arrays."""
        leaves, structure = jax.tree_util.tree_flatten(tree)
        rest = tuple(None if is_array(leaf) else cls(leaf) for leaf in leaves)
        return cls((structure, rest)), [leaf for leaf in leaves if is_array(leaf)]

    def join(self, arrays: list[Any]) -> Any:
        """Put arrays back into the structure."""
        structure, rest = self.value
        given = iter(arrays)
        return jax.tree_util.tree_unflatten(structure, [next(given) if r is None else r.value for r in rest])


jax.tree_util.register_pytree_node(Static, lambda static: ((), static), lambda static, _: static)


def is_array(leaf: Any) -> bool:
    """Whether a leaf is an array of JAX or NumPy."""
    return isinstance(leaf, (jax.Array, np.ndarray))
