"""Methods without gradients on JAX: the shipped kit, agreement with a black box on NumPy included."""

from __future__ import annotations

import jax  # noqa: F401
import pytest

from tests.conformance import perturbation_checks
from whence.testing import Check


@pytest.mark.parametrize("check", perturbation_checks("jax", dtypes=("float32",)), ids=str)
def test_methods(check: Check) -> None:
    check()
