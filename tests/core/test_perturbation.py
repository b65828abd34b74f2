"""Methods without gradients on NumPy: the shipped kit, agreement with a black box on NumPy included."""

from __future__ import annotations

import pytest

from tests.conformance import perturbation_checks
from whence.testing import Check


@pytest.mark.parametrize("check", perturbation_checks("numpy"), ids=str)
def test_methods(check: Check) -> None:
    check()
