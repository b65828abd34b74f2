"""Methods without gradients on TensorFlow: the shipped kit, agreement with a black box on NumPy included."""

from __future__ import annotations

import pytest
import tensorflow  # noqa: F401

from tests.conformance import perturbation_checks
from whence.testing import Check


@pytest.mark.parametrize("check", perturbation_checks("tensorflow", dtypes=("float32",)), ids=str)
def test_methods(check: Check) -> None:
    check()
