"""Axis orders are declared or known, never guessed."""

from __future__ import annotations

import pytest

from whence.core.layout import LAYOUTS, Layout
from whence.errors import ParameterError


def find(name: str | None, rank: int, declared: bool = True) -> Layout:
    return Layout.find(name, rank, declared=declared)


def test_images() -> None:
    assert find("NCHW", 4) == Layout(1, (2, 3)) and find("NHWC", 4) == Layout(3, (1, 2))
    assert find("NCDHW", 5) == Layout(1, (2, 3, 4)) and find("NDHWC", 5) == Layout(4, (1, 2, 3))
    assert find("NCL", 3) == Layout(1, (2,)) and find("NLC", 3) == Layout(2, (1,))


@pytest.mark.parametrize("name", LAYOUTS)
def test_vectors_have_no_layout(name: str) -> None:
    assert find(name, 2) == find(name, 1) == Layout()


def test_nothing_known_is_nothing_guessed() -> None:
    assert all(find(None, rank) == Layout() for rank in range(1, 6))


def test_a_framework_s_convention_does_not_hold_for_sequences() -> None:
    assert find("NCHW", 3, declared=False) == find("NCHW", 3) == Layout()
    assert find("NCHW", 5, declared=False) == Layout(1, (2, 3, 4))


@pytest.mark.parametrize("name", ["nchw", "CHW", "channels_first", "", "NHCW"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(ParameterError, match="NCHW, NHWC"):
        find(name, 4)
