"""Methods by name."""

from __future__ import annotations

import pytest

from whence.core.registry import method_class, method_names
from whence.errors import ParameterError


def test_every_name_is_a_methods_own() -> None:
    assert all(method_class(name).name == name for name in method_names())


def test_an_unknown_name_gives_the_nearest_ones() -> None:
    with pytest.raises(ParameterError, match=r"nearest names: .*integrated_gradients.*; one of saliency, "):
        method_class("integrated_gradient")
    with pytest.raises(ParameterError, match="Valid: one of saliency, "):
        method_class("zzz")
