"""Owen values: Shapley values over orders in which the members of a group come in one after the other.

    phi_i = E over consistent orders of v(those before i, and i) - v(those before i)

Owen 1977, doi 10.1007/978-3-642-45494-3_7; groups within groups: Winter 1989, doi 10.1007/BF01268150. An order is
consistent if the features below each node of the hierarchy are consecutive in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from whence.core.coalitions import Game
from whence.core.errors import ParameterError
from whence.core.sampling import generator
from whence.methods.by_feature import Estimate
from whence.methods.shapley import ShapleySampling

Node = int | tuple[Any, ...]


@dataclass(frozen=True, kw_only=True, repr=False)
class OwenValues(ShapleySampling):
    """Owen values over a hierarchy of features, ``[B, ...]``, from random consistent orders, with standard errors.

    ``hierarchy``: nested tuples of feature numbers, each once, such as ``((0, 1), (2, (3, 4)))``; ``"halves"`` cuts the
    features in two, in their order, again and again. A group's values sum to what the group as a whole is worth among
    its siblings. The other fields: see ShapleySampling.

    Source: Owen 1977, doi 10.1007/978-3-642-45494-3_7; Winter 1989, doi 10.1007/BF01268150.
    """

    name: ClassVar[str] = "owen_values"

    hierarchy: Any = "halves"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hierarchy != "halves":
            found = _members(_as_node(self.hierarchy))
            if sorted(found) != list(range(len(found))):
                raise ParameterError(
                    "hierarchy",
                    received=repr(self.hierarchy),
                    valid="nested tuples with each feature number from 0 once",
                )

    def estimate(self, game: Game) -> Estimate:
        if self.hierarchy != "halves":
            count = len(_members(_as_node(self.hierarchy)))
            if count != game.size:
                raise ParameterError("hierarchy", received=f"one of {count} features", valid=f"one of {game.size}")
        return super().estimate(game)

    def _drawn(self, count: int, n: int) -> np.ndarray:
        tree = _halves(0, n) if self.hierarchy == "halves" else _as_node(self.hierarchy)
        orders = [_shuffled(tree, generator(self.seed, "owen_values", 0, draw)) for draw in range(count)]
        return np.argsort(orders, axis=1)


def _as_node(spec: Any) -> Node:
    if isinstance(spec, (tuple, list)):
        if not spec:
            raise ParameterError("hierarchy", received="an empty group", valid="groups with members")
        return tuple(_as_node(child) for child in spec)
    if not isinstance(spec, (int, np.integer)) or isinstance(spec, bool):
        raise ParameterError("hierarchy", received=repr(spec), valid='"halves", or nested tuples of feature numbers')
    return int(spec)


def _members(node: Node) -> list[int]:
    return [node] if isinstance(node, int) else [leaf for child in node for leaf in _members(child)]


def _halves(first: int, stop: int) -> Node:
    """Features ``first .. stop`` cut in two, again and again."""
    if stop - first == 1:
        return first
    middle = (first + stop + 1) // 2
    return (_halves(first, middle), _halves(middle, stop))


def _shuffled(node: Node, rng: np.random.Generator) -> list[int]:
    """The features below a node, its children in random order, each child's features together."""
    if isinstance(node, int):
        return [node]
    return [leaf for i in rng.permutation(len(node)) for leaf in _shuffled(node[i], rng)]
