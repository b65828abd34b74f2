"""Methods without gradients on JAX: the shipped kit, agreement with a black box on NumPy included."""

from __future__ import annotations

import jax  # noqa: F401
import pytest

import whence
from tests.conformance import perturbation_checks
from tests.tables import METHODS, agrees_with_numpy
from whence.testing import Check


@pytest.mark.parametrize("check", perturbation_checks("jax", dtypes=("float32",)), ids=str)
def test_methods(check: Check) -> None:
    check()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_tables_and_anchors_are_those_of_numpy(method: whence.Method) -> None:
    agrees_with_numpy(method, "jax")
