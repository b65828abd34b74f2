"""Ablation, occlusion, permutation and RISE against loops written from their definitions, in float64."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

import whence
from tests.oracles import Array
from whence.baselines import DataSet
from whence.core.designs import on_off
from whence.core.sampling import generator
from whence.errors import ParameterError, ShapeError

rng = np.random.default_rng(8)
IMAGES = rng.random((2, 7, 9, 2))
MIX = rng.standard_normal((7 * 9 * 2, 5)) / 5
OUT = rng.standard_normal(5)


def score(x: Array) -> Array:
    return np.tanh(x.reshape(len(x), -1) @ MIX) @ OUT


model = whence.wrap(score, layout="NHWC")


@pytest.mark.parametrize(
    ("window", "stride"), [(3, 2), ((2, 5), (2, 3)), ((4, 4), (4, 4)), ((3, 2, 1), (2, 2, 1)), ((7, 9), 1), (1, None)]
)
def test_occlusion_is_the_mean_over_covering_windows(window: Any, stride: Any) -> None:
    found = whence.Occlusion(window=window, stride=stride, baseline=0.25).explain(model, IMAGES, batch_size=7)
    n = len(window) if isinstance(window, tuple) else 2
    sizes = (*(window if isinstance(window, tuple) else (window,) * n), 2)[:3]
    strides = (*(stride if isinstance(stride, tuple) else (stride or 1,) * n), 1)[:3]
    total, count = np.zeros(IMAGES.shape), np.zeros(IMAGES.shape)
    starts = [range(0, -(-(length - size) // step) * step + 1, step)
              for length, size, step in zip(IMAGES.shape[1:], sizes, strides, strict=True)]  # fmt: skip
    for corner in product(*starts):
        inside = (slice(None), *(slice(a, a + size) for a, size in zip(corner, sizes, strict=True)))
        occluded = IMAGES.copy()
        occluded[inside] = 0.25
        total[inside] += (score(IMAGES) - score(occluded))[:, None, None, None]
        count[inside] += 1
    assert count.min() >= 1, "every position is covered"
    np.testing.assert_allclose(found.attributions, total / count, atol=1e-12)


def test_occlusion_of_several_inputs_and_of_signals() -> None:
    def pair(a: Array, b: Array) -> Array:
        return np.tanh(a.sum((1, 2))) * b.sum(1) + b[:, 0] ** 2

    rng = np.random.default_rng(9)
    a, b = rng.random((3, 4, 2)), rng.random((3, 5))
    e = whence.Occlusion(window=2).explain(pair, (a, b), batch_size=4)
    for i, whole in enumerate((a, b)):
        total, count = np.zeros(whole.shape), np.zeros(whole.shape)
        for corner in product(*(range(size - 1) for size in whole.shape[1:])):
            inside = (slice(None), *(slice(c, c + 2) for c in corner))
            other = whole.copy()
            other[inside] = 0
            drop = pair(a, b) - pair(*((other, b) if i == 0 else (a, other)))
            total[inside] += drop.reshape(-1, *[1] * (whole.ndim - 1))
            count[inside] += 1
        np.testing.assert_allclose(e.attributions[i], total / count, atol=1e-12)


def test_windows_that_do_not_fit() -> None:
    for bad, error in (
        (dict(window=8), ShapeError),
        (dict(window=(3, 3, 3, 3)), ParameterError),
        (dict(window=2, stride=3), ParameterError),
        (dict(window=2, stride=(1, 2, 3)), ParameterError),
    ):
        with pytest.raises(error):
            whence.Occlusion(**bad).explain(model, IMAGES)
    for bad in (dict(window=0), dict(window=(2, -1)), dict(stride=0), dict(window=1.5)):
        with pytest.raises(ParameterError):
            whence.Occlusion(**bad)


def test_permutation_takes_features_from_other_rows() -> None:
    rng = np.random.default_rng(10)
    x, rows, n = rng.random((3, 4)), rng.random((6, 4)), 400
    e = whence.FeaturePermutation(baseline=DataSet(rows), n_samples=n, seed=3).explain(lambda t: (t**2).sum(1), x)
    each = x[:, None] ** 2 - rows**2
    assert (np.abs(e.attributions - each.mean(1)) < 5 * each.std(1) / n**0.5).all()
    np.testing.assert_allclose(e.std_error, each.std(1) / n**0.5, rtol=0.15)
    swapped = whence.FeaturePermutation(n_samples=1).explain(lambda t: (t**2).sum(1), x[:2])  # one other row to take
    np.testing.assert_allclose(swapped.attributions, x[:2] ** 2 - x[1::-1] ** 2, atol=1e-12)
    assert np.isnan(swapped.std_error).all()
    with pytest.raises(ParameterError, match="one sample"):
        whence.FeaturePermutation().explain(score, IMAGES[:1])
    with pytest.raises(ParameterError, match="DataSet"):
        whence.FeaturePermutation(baseline="mean")


# -- RISE --------------------------------------------------------------------------------------------------------------
def upsampled(grid: Array, shift: tuple[int, int], lengths: tuple[int, int]) -> Array:
    """A mask of the paper, position by position: bilinear between cell centres, cut out at the shift."""
    steps = [-(-length // size) for length, size in zip(lengths, grid.shape, strict=True)]
    mask = np.zeros(lengths)
    for i, j in product(*map(range, lengths)):
        weights = []
        for p, s, step, size in zip((i, j), shift, steps, grid.shape, strict=True):
            centre = np.clip((p + s + 0.5) * size / ((size + 1) * step) - 0.5, 0, size - 1)
            low = int(centre)
            w = np.zeros(size)
            w[low] += 1 - (centre - low)
            w[min(low + 1, size - 1)] += centre - low
            weights.append(w)
        mask[i, j] = weights[0] @ grid @ weights[1]
    return mask


@pytest.mark.parametrize("sampling", ["independent", "hadamard"])
def test_rise_is_the_weighted_mean_of_scores(sampling: str) -> None:
    n, seed, sizes = 24, 5, (2, 3)
    z = on_off(sampling, n, 6, 0.5, seed=seed, stream="rise").astype(float)
    own = generator(seed, "rise/shift", 0, 0)
    shifts = np.stack([own.integers(0, step, n) for step in (4, 3)], axis=1)
    total = np.zeros((2, 7, 9))
    for grid, shift in zip(z.reshape(n, *sizes), shifts, strict=True):
        mask = upsampled(grid, tuple(shift), (7, 9))[..., None]
        total += score(IMAGES * mask + 0.1 * (1 - mask))[:, None, None] * mask[..., 0]
    method = whence.RISE(n_samples=n, grid=sizes, baseline=0.1, sampling=sampling, control_variate=False, seed=seed)
    e = method.explain(model, IMAGES, batch_size=5)
    np.testing.assert_allclose(e.attributions, np.repeat((total / n / 0.5)[..., None], 2, -1), atol=1e-6)


def test_the_control_variate_has_the_same_mean_and_less_error() -> None:
    def found(**options: Any) -> Array:
        return whence.RISE(grid=3, **options).explain(model, IMAGES[:1]).attributions[0, ..., 0]

    truth = found(n_samples=30000, sampling="independent", control_variate=False, seed=99)
    plain = [found(n_samples=128, sampling="independent", control_variate=False, seed=s) - truth for s in range(30)]
    better = [found(n_samples=128, seed=s) - truth for s in range(30)]
    assert np.sqrt(np.mean(np.square(better))) < 0.75 * np.sqrt(np.mean(np.square(plain)))
    spread = np.std(better, axis=0) / 30**0.5 + np.abs(truth).max() * 0.01
    assert (np.abs(np.mean(better, axis=0)) < 5 * spread).all(), "no bias"
    told = whence.RISE(grid=3, n_samples=128).explain(model, IMAGES[:1]).std_error[0, ..., 0]
    assert 0.4 < np.sqrt(np.mean(told**2)) / np.sqrt(np.mean(np.square(better))) < 2.5


def test_hadamard_cells_are_balanced() -> None:
    z = on_off("hadamard", 32, 11, 0.5, seed=1, stream="x")
    assert (z.sum(0) == 16).all() and not (z[::2] == z[1::2]).any()
    for a in range(11):
        for b in range(a):
            assert sorted(np.bincount(2 * z[:, a] + z[:, b], minlength=4)) == [8, 8, 8, 8]


def test_rise_refuses() -> None:
    for bad in (dict(n_samples=0), dict(grid=0), dict(probability=0.3), dict(probability=1.0, sampling="independent"),
                dict(sampling="sobol"), dict(seed=0.5)):  # fmt: skip
        with pytest.raises(ParameterError):
            whence.RISE(**bad)
    with pytest.raises(ParameterError, match="2 of them"):
        whence.RISE(grid=(2, 3, 4)).explain(model, IMAGES)
