"""Hyper-parameters of LRP that make no sense, and what its rule sets ask of a backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import whence
from whence.core.rule import all_of, inside, is_first, is_last, kind_is
from whence.errors import ParameterError
from whence.methods.lrp_composites import COMPOSITES
from whence.methods.lrp_rules import Epsilon


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"composite": "epsilon_flat"}, "epsilon_plus_flat"),
        ({"composite": "epsilon_gamma_box"}, "low <= high"),
        ({"composite": "epsilon_gamma_box", "low": 0.0}, "low <= high"),
        ({"composite": "epsilon_gamma_box", "low": 1.0, "high": 0.0}, "low <= high"),
        ({"composite": "epsilon_gamma_box", "low": [0.0, 1.0], "high": [1.0, 0.5]}, "low <= high"),
        ({"composite": "epsilon_gamma_box", "low": float("-inf"), "high": 1.0}, "low <= high"),
        ({"composite": "epsilon_gamma_box", "low": "zero", "high": 1.0}, "low <= high"),
        ({"epsilon": -1.0}, ">= 0"),
        ({"gamma": float("nan")}, ">= 0"),
        ({"alpha": 0.5}, ">= 1"),
        ({"overrides": (Epsilon(),)}, "pairs"),
        ({"overrides": (("conv1", Epsilon()),)}, "pairs"),
        ({"overrides": 3}, "pairs"),
    ],
)
def test_bad_fields(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        whence.LRP(**fields)


def test_bounds_may_be_arrays() -> None:
    low, high = np.zeros((3, 1, 1)), np.ones((3, 1, 1))
    one, other = (whence.LRP(composite="epsilon_gamma_box", low=low, high=high) for _ in range(2))
    assert one == other and hash(one.rules) == hash(other.rules)


def test_a_backend_is_asked_for_places_only_where_a_rule_needs_them() -> None:
    for name in COMPOSITES:
        rules = whence.LRP(composite=name, low=0, high=1).rules
        assert rules.places == name.endswith(("flat", "box")) and rules.layers == ()
    named = all_of(kind_is("affine"), inside("a", "b:1"))
    assert whence.LRP(overrides=((named, Epsilon()), (inside("a"), Epsilon()))).rules.layers == ("a", "b:1")
    for position in (is_first, is_last):
        assert whence.LRP(overrides=((all_of(position, named), Epsilon()),)).rules.places
