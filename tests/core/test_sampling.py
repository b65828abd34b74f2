"""Random draws: keyed by (seed, stream, sample, draw), whatever the split of the batch."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import kstest

from whence.core.sampling import draw, normal, place_of, repetition, uniform


def drawn(samples, draws, fill=normal, shape=(5,), **options) -> np.ndarray:
    return draw(fill, shape, **{"seed": 7, "stream": "test", **options}, samples=samples, draws=draws)


@pytest.mark.parametrize("fill", [normal, uniform])
def test_any_split_gives_the_same_numbers(fill) -> None:
    whole = drawn(range(6), range(5), fill)
    assert whole.shape == (5, 6, 5) and whole.dtype == np.float32
    for sizes in ((1, 5), (2, 2, 2), (3, 3), (1,) * 6):
        starts = np.cumsum([0, *sizes])
        parts = [drawn(range(a, b), range(5), fill) for a, b in pairwise(starts)]
        assert np.array_equal(np.concatenate(parts, axis=1), whole)
    parts = [drawn(range(6), [k], fill) for k in range(5)]
    assert np.array_equal(np.concatenate(parts), whole)
    assert np.array_equal(drawn([4, 0], [3, 1], fill), whole[[3, 1]][:, [4, 0]])


def test_every_key_has_numbers_of_its_own() -> None:
    whole = drawn(range(20), range(20))
    others = [drawn(range(20), range(20), **change) for change in ({"seed": 8}, {"stream": "other"}, {"seed": -7})]
    everything = np.concatenate([whole, *others]).ravel()
    assert len(np.unique(everything)) > 0.99 * everything.size
    assert np.array_equal(drawn(range(2), range(2), seed=-1), drawn(range(2), range(2), seed=2**64 - 1))


def test_repetitions_of_repetitions_have_keys_of_their_own() -> None:
    keys = list(range(3))
    for _ in range(3):
        keys = [repetition(key, number) for number in range(5) for key in keys]
    assert len(set(keys)) == 3 * 5**3 and {place_of(key) for key in keys} == {0, 1, 2}
    assert max(keys) < 2**64


def test_moments_of_the_distributions() -> None:
    x = drawn(range(200), range(50), normal)
    assert abs(x.mean()) < 4 / np.sqrt(x.size) and abs(x.std() - 1) < 4 / np.sqrt(2 * x.size)
    # draws of neighbouring samples and of neighbouring draws are independent
    for a, b in ((x[:, 1:], x[:, :-1]), (x[1:], x[:-1]), (x[..., 1:], x[..., :-1])):
        assert abs((a * b).mean()) < 4 / np.sqrt(a.size)
    assert kstest(x.ravel(), "norm").pvalue > 0.01
    u = drawn(range(200), range(50), uniform)
    assert u.min() >= 0 and u.max() < 1 and abs(u.mean() - 0.5) < 4 / np.sqrt(12 * u.size)


def test_both_layouts_see_the_same_noise() -> None:
    last = drawn(range(2), range(3), shape=(5, 6, 3), channel_axis=2)
    first = drawn(range(2), range(3), shape=(3, 5, 6), channel_axis=0)
    assert np.array_equal(np.moveaxis(first, 2, -1), last)
    assert np.array_equal(last, drawn(range(2), range(3), shape=(5, 6, 3)))


def test_the_ends_of_the_range_are_finite() -> None:
    ends = np.array([0, 2**32 - 1], np.uint32)
    assert np.isfinite(normal(ends)).all() and np.isfinite(normal(ends[::-1])).all()
    assert uniform(ends).tolist() == [0, 1 - 2.0**-24]


def test_global_generators_are_neither_read_nor_seeded() -> None:
    np.random.seed(3)
    random.seed(3)
    before = np.random.get_state(), random.getstate()
    first = drawn(range(3), range(3))
    assert repr((np.random.get_state(), random.getstate())) == repr(before)
    np.random.seed(4)
    assert np.array_equal(first, drawn(range(3), range(3)))


def test_scalars_per_sample() -> None:
    assert drawn(range(3), range(2), uniform, shape=()).shape == (2, 3)
