"""Values that are nowhere below zero, read off the operations that made them."""

from __future__ import annotations

import pytest

from whence.core.signs import Signs


@pytest.fixture
def signs() -> Signs:
    known = Signs()
    known.add("max", "relu", ["x"], ["y"])
    return known


@pytest.mark.parametrize(("name", "kind"), [("reshape", "linear"), ("maxpool", "max_pool"), ("zero_pad", "linear")])
def test_what_keeps_the_sign(signs: Signs, name: str, kind: str) -> None:
    signs.add(name, kind, ["y"], ["z"])
    assert signs.non_negative(["z"]) and signs.non_negative(["y", "z"])
    signs.add(name, kind, ["x"], ["w"])
    assert not signs.non_negative(["w"]) and not signs.non_negative(["y", "w"])


@pytest.mark.parametrize("name", ["sub", "neg", "pad", "conv"])
def test_what_may_change_it(signs: Signs, name: str) -> None:
    signs.add(name, "affine" if name == "conv" else "linear", ["y"], ["z"])
    assert not signs.non_negative(["z"])


def test_of_nothing_nothing_is_known(signs: Signs) -> None:
    assert not signs.non_negative([])
