"""Running sums and moments against NumPy in float64."""

from __future__ import annotations

import numpy as np
import pytest

from whence.backends.numpy import ops
from whence.core.accumulate import Moments, Sum, sum_dtype


def test_compensated_beats_naive() -> None:
    terms = np.random.default_rng(0).random((100_000, 3), np.float32) + np.float32(0.1)
    exact = terms.astype(np.float64).sum(axis=0)
    naive, kahan = terms[0], Sum(terms[0])
    for term in terms[1:]:
        naive, kahan = naive + term, kahan.add(term)
    assert kahan.total.dtype == np.float32
    error = {name: np.abs(total / exact - 1).max() for name, total in {"naive": naive, "kahan": kahan.total}.items()}
    assert error["kahan"] < 1.2e-7 and error["naive"] > 20 * error["kahan"]


def moments(values: np.ndarray) -> Moments:
    mean = values.mean(axis=0)
    return Moments(len(values), mean, ((values - mean) ** 2).sum(axis=0))


@pytest.mark.parametrize("sizes", [(10,), (1, 9), (3, 4, 3), (1,) * 10])
def test_moments_merge_to_those_of_everything(sizes: tuple[int, ...]) -> None:
    # a large mean: the textbook formula with sums of squares would lose all digits
    values = np.random.default_rng(1).standard_normal((10, 4)) + 1e6
    parts = np.split(values, np.cumsum(sizes)[:-1])
    found = moments(parts[0])
    for part in parts[1:]:
        found = found.merge(moments(part))
    assert found.count == 10 and np.allclose(found.mean, values.mean(0), rtol=1e-15)
    assert np.allclose(found.variance, values.var(0), rtol=1e-8)
    assert np.allclose(found.std_error(ops), values.std(0, ddof=1) / np.sqrt(10), rtol=1e-8)


def test_one_draw_claims_no_error() -> None:
    assert np.isnan(moments(np.ones((1, 3))).std_error(ops)).all()


def test_half_types_are_summed_in_float32() -> None:
    assert [sum_dtype(d) for d in ("float16", "bfloat16", "float32", "float64")] == ["float32"] * 3 + ["float64"]
