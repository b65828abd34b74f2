"""Baselines: every form, every error, the same values whatever the split of the batch."""

from __future__ import annotations

import numpy as np
import pytest

from whence.backends.numpy import ops
from whence.baselines import Blur, DataSet, Gaussian, Uniform
from whence.core.baselines import per_leaf, resolve
from whence.core.interpolation import gaussian_matrix
from whence.core.layout import Layout
from whence.core.tree import flatten
from whence.errors import BaselineError, ParameterError

X = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
IMAGES = np.random.default_rng(1).standard_normal((2, 6, 8, 3)).astype(np.float32)


def resolved(baseline, x=X, layout=None, ids=None) -> np.ndarray:
    ids = range(len(x)) if ids is None else ids
    return resolve(baseline, ops, x, leaf=0, layout=layout or Layout(), sample_ids=list(ids))


@pytest.mark.parametrize(("name", "wanted"), [
    ("zeros", np.zeros_like(X)), (0.5, np.full_like(X, 0.5)), (2, np.full_like(X, 2)),
    (np.float32(-1), -np.ones_like(X)),
    ("min", np.broadcast_to(X.min((1, 2), keepdims=True), X.shape)),
    ("max", np.broadcast_to(X.max((1, 2), keepdims=True), X.shape)),
    ("mean", np.broadcast_to(X.mean((1, 2), keepdims=True), X.shape)),
    (X * 2, X * 2), (X[:1], np.broadcast_to(X[:1], X.shape)), (X[0], np.broadcast_to(X[0], X.shape)),
    (X[0].astype(np.float64), np.broadcast_to(X[0], X.shape)), (np.array(3), np.full_like(X, 3)),
    (lambda x: x + 1, X + 1), (lambda x: 4.0, np.full_like(X, 4)),
])  # fmt: skip
def test_forms(name, wanted: np.ndarray) -> None:
    found = resolved(name)
    assert found.shape == X.shape and found.dtype == np.float32
    assert np.allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize("baseline", ["ones", "", object(), True, None, b"zeros", "blurred"])
def test_unknown_baselines(baseline) -> None:
    with pytest.raises(BaselineError, match='Valid: "zeros", "min"'):
        resolved(baseline)


@pytest.mark.parametrize("baseline", [X[:2], X[:, :2], X[0, 0], X[None], np.zeros(3)])
def test_wrong_shapes(baseline) -> None:
    with pytest.raises(BaselineError, match=r"inputs of shape \(3, 4, 5\).*Received: an array of shape"):
        resolved(baseline)


@pytest.mark.parametrize("name", ["min", "mean"])
def test_statistics_of_inputs_without_axes(name: str) -> None:
    x = np.array([1.0, 2.0])
    assert np.array_equal(resolved(name, x), x)


@pytest.mark.parametrize("layout", [Layout(3, (1, 2)), Layout(1, (2, 3))])
def test_blur(layout: Layout) -> None:
    x = IMAGES if layout.channel == 3 else np.moveaxis(IMAGES, 3, 1)
    found = resolved(Blur(1.5), x, layout)
    found = found if layout.channel == 3 else np.moveaxis(found, 1, 3)
    rows, columns = gaussian_matrix(6, 1.5), gaussian_matrix(8, 1.5)
    wanted = np.array([[rows @ image[..., c] @ columns.T for c in range(3)] for image in IMAGES])
    assert np.allclose(found, np.moveaxis(wanted, 1, 3), atol=1e-6)
    assert np.array_equal(resolved("blur", x, layout), resolved(Blur(), x, layout))


def test_blur_needs_a_layout() -> None:
    with pytest.raises(BaselineError, match="layout"):
        resolved("blur")


@pytest.mark.parametrize("baseline", [Gaussian(mean=1, stdev=0.5, seed=3), Uniform(low=-1, high=2), DataSet(X[:2] + 9)])
def test_distributions_follow_the_sample_not_the_split(baseline) -> None:
    whole = baseline.sample(ops, X, 0, range(4), [0, 1, 2], Layout())
    assert whole.shape == (4, 3, 4, 5)
    parts = [baseline.sample(ops, X[i : i + 1], 0, range(4), [i], Layout()) for i in range(3)]
    assert np.array_equal(np.concatenate(parts, axis=1), whole)
    assert np.array_equal(resolved(baseline), whole[0]), "a method that needs one takes draw 0"
    assert not np.array_equal(whole[0], whole[1])


def test_distributions_have_their_moments() -> None:
    x = np.zeros((50, 200))
    gaussian = Gaussian(mean=1, stdev=0.5).sample(ops, x, 0, range(4), range(50), Layout())
    assert abs(gaussian.mean() - 1) < 0.01 and abs(gaussian.std() - 0.5) < 0.01
    uniform = Uniform(low=-1, high=3).sample(ops, x, 0, range(4), range(50), Layout())
    assert uniform.min() >= -1 and uniform.max() < 3 and abs(uniform.mean() - 1) < 0.03


def test_rows_of_a_data_set() -> None:
    rows = np.arange(5.0)[:, None] * np.ones((5, 2))
    found = DataSet(rows).sample(ops, np.zeros((40, 2)), 0, range(10), range(40), Layout())
    assert set(np.unique(found)) == set(range(5)) and (found[..., 0] == found[..., 1]).all()
    assert np.allclose(np.bincount(found[..., 0].astype(int).ravel()) / 400, 0.2, atol=0.07)
    both = DataSet({"a": rows, "b": -rows})
    other = DataSet({"a": rows, "b": -rows}, seed=1)
    a, b = (both.sample(ops, np.zeros((3, 2)), leaf, range(4), range(3), Layout()) for leaf in (0, 1))
    assert np.array_equal(a, -b), "the same row for all inputs"
    assert not np.array_equal(a, other.sample(ops, np.zeros((3, 2)), 0, range(4), range(3), Layout()))


@pytest.mark.parametrize("data", [np.zeros((4, 3)), np.zeros((0, 4, 5)), np.zeros((4, 5))])
def test_data_sets_of_the_wrong_shape(data) -> None:
    with pytest.raises(BaselineError, match=r"rows of shape \(4, 5\)"):
        resolved(DataSet(data))


@pytest.mark.parametrize("stdev", [-1, float("nan"), float("inf"), "1", True])
def test_gaussian_stdev(stdev) -> None:
    with pytest.raises(ParameterError, match="stdev"):
        Gaussian(stdev=stdev)


def test_one_baseline_per_input() -> None:
    structure = flatten({"a": X, "b": X})[1]
    assert per_leaf("zeros", structure) == ("zeros", "zeros")
    assert per_leaf({"a": 1, "b": "mean"}, structure) == (1, "mean")
    for wrong in ({"a": 1}, (1, 2), [1, 2], {"a": 1, "c": 2}):
        with pytest.raises(BaselineError, match="one baseline per input"):
            per_leaf(wrong, structure)
