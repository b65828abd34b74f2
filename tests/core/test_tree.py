"""Structures of inputs: flat tuples, lists and dicts of tensors."""

from __future__ import annotations

from collections import OrderedDict, UserDict, namedtuple

import numpy as np
import pytest

from whence.core.tree import flatten
from whence.errors import ShapeError

A, B = np.zeros(2), np.ones(3)
Pair = namedtuple("Pair", "image ids")


@pytest.mark.parametrize("value", [A, (A, B), [A, B], {"image": A, "ids": B}, (A,), Pair(A, B), {0: A, "x": B}])
def test_round_trip(value) -> None:
    leaves, structure = flatten(value)
    again = structure.unflatten(leaves)
    assert type(again) is type(value) and len(leaves) == len(structure.names)
    assert all(x is y for x, y in zip(flatten(again)[0], leaves, strict=True))
    assert structure.matches(value) and flatten(again)[1] == structure


def test_other_mappings_become_a_dict() -> None:
    leaves, structure = flatten(UserDict(ids=A, mask=B))
    assert structure == flatten({"ids": A, "mask": B})[1] and leaves[0] is A and leaves[1] is B
    assert type(structure.unflatten(leaves)) is dict and structure.matches(UserDict(ids=A, mask=B))
    with pytest.raises(ShapeError, match="UserDict"):
        flatten(UserDict(ids=UserDict(a=A)))


def test_order_of_a_dict_is_the_users() -> None:
    leaves, structure = flatten({"b": A, "a": B})
    assert leaves[0] is A and list(structure.unflatten(leaves)) == ["b", "a"]
    assert structure.names == ("input['b']", "input['a']")


def test_names() -> None:
    assert flatten(A)[1].names == ("input",) and flatten((A, B))[1].names == ("input[0]", "input[1]")


def test_kinds_do_not_match_each_other() -> None:
    values = [A, (A, B), [A, B], {"a": A, "b": B}, (A, B, A), {"a": A}]
    structures = [flatten(v)[1] for v in values]
    for i, structure in enumerate(structures):
        for j, value in enumerate(values):
            assert structure.matches(value) == (i == j), (i, j)


@pytest.mark.parametrize("value", [(), [], {}, (A, (B,)), [A, [B]], {"a": {"b": A}}, {"a": (A, B)}])
def test_empty_and_nested_structures_are_refused(value) -> None:
    with pytest.raises(ShapeError, match="flat structure"):
        flatten(value)


def test_subclasses_of_dict_are_dicts() -> None:
    leaves, structure = flatten(OrderedDict(a=A, b=B))
    assert leaves == (A, B) or leaves[0] is A
    assert isinstance(structure.unflatten(leaves), dict)
