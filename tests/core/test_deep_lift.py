"""DeepLIFT's formulas against plain difference quotients in float64."""

from __future__ import annotations

import numpy as np
import pytest

from whence.backends.numpy.ops import ops
from whence.core.rule import POWERS
from whence.methods.deep_lift_rules import SLOPES_OF_POWERS, log_mean

X, X0 = np.array([0.3, 2.0, 5.0, 0.7]), np.array([1.1, 0.4, 4.9, 0.7])


@pytest.mark.parametrize("power", sorted(set(POWERS.values())))
def test_the_slope_of_a_power_is_its_quotient_of_differences(power: float) -> None:
    y, y0 = X**power, X0**power
    found = SLOPES_OF_POWERS[power](X, X0, y, y0)
    np.testing.assert_allclose(found[:-1], (y - y0)[:-1] / (X - X0)[:-1], rtol=1e-12)
    np.testing.assert_allclose(found[-1], power * X[-1] ** (power - 1), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_logarithmic_mean(dtype: str) -> None:
    p, p0 = np.array([0.3, 0.2, 0.5, 1e-30, 0.0, 0.0]), np.array([0.3, 0.2 * (1 + 1e-9), 0.1, 0.9, 0.0, 0.2])
    log_change = np.log(np.maximum(p, 1e-300)) - np.log(np.maximum(p0, 1e-300))
    expected = [0.3, 0.2 * (1 + 0.5e-9), 0.4 / np.log(5), 0.9 / np.log(0.9e30), 0.0, 0.2 / np.log(0.2e300)]
    found = log_mean(ops, *(v.astype(dtype) for v in (p, p0, log_change)))
    np.testing.assert_allclose(found, expected, rtol=1e-5 if dtype == "float32" else 1e-12)
