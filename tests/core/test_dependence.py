"""Sobol indices and HSIC against closed forms and loops written from their definitions."""

from __future__ import annotations

import numpy as np
import pytest

import whence
from tests.oracles import Array
from whence.core.designs import on_off
from whence.errors import ParameterError
from whence.methods.grid_masks import sobol_sequence
from whence.methods.hsic import criterion

rng = np.random.default_rng(6)
X = rng.standard_normal((2, 5))


def test_total_indices_of_an_additive_model_are_its_shares_of_variance() -> None:
    weights = rng.standard_normal(5)
    wanted = (X * weights) ** 2 / ((X * weights) ** 2).sum(1, keepdims=True)
    for order in ("total", "first"):
        found = whence.Sobol(n_samples=4096, grid=5, order=order).explain(lambda x: x @ weights, X)
        np.testing.assert_allclose(found.attributions, wanted, atol=0.01)


def test_orders_differ_by_interactions() -> None:
    """Of a product of two uniform masks u v: Var = 7/144, first-order share 3/7 each, total 4/7 each."""
    one = np.ones((1, 3))
    total = whence.Sobol(n_samples=8192, grid=3).explain(lambda x: x[:, 0] * x[:, 1], one)
    first = whence.Sobol(n_samples=8192, grid=3, order="first").explain(lambda x: x[:, 0] * x[:, 1], one)
    np.testing.assert_allclose(total.attributions, [[4 / 7, 4 / 7, 0]], atol=0.02)
    np.testing.assert_allclose(first.attributions, [[3 / 7, 3 / 7, 0]], atol=0.02)


def test_sobol_is_jansens_estimator() -> None:
    n, seed, kernel = 8, 3, rng.standard_normal((5, 4))

    def model(x: Array) -> Array:
        return np.tanh(x @ kernel).sum(1)

    found = whence.Sobol(n_samples=n, grid=5, seed=seed, baseline=0.2).explain(model, X, batch_size=3)
    both = sobol_sequence(n, 10, seed)
    a, b = both[:, :5], both[:, 5:]
    for s, x in enumerate(X):

        def v(z: Array, x: Array = x) -> Array:
            return model(x * z + 0.2 * (1 - z))

        variance = np.var(np.concatenate([v(a), v(b)]))
        for i in range(5):
            swapped = a.copy()
            swapped[:, i] = b[:, i]
            terms = (v(a) - v(swapped)) ** 2 / 2 / variance
            np.testing.assert_allclose(found.attributions[s, i], terms.mean(), atol=1e-12)
            np.testing.assert_allclose(found.std_error[s, i], terms.std(ddof=1) / n**0.5, atol=1e-12)


def test_hsic_is_the_trace() -> None:
    n, seed, kernel = 30, 2, rng.standard_normal((5, 4))

    def model(x: Array) -> Array:
        return np.tanh(x @ kernel).sum(1)

    found = whence.HSIC(n_samples=n, grid=5, seed=seed).explain(model, X, batch_size=4)
    z = on_off("independent", n, 5, 0.5, seed=seed, stream="hsic").astype(float)
    h = np.eye(n) - 1 / n
    for s, x in enumerate(X):
        y = model(x * z)
        gaps = [abs(y[i] - y[j]) for i in range(n) for j in range(i)]
        outputs = np.exp(-((y[:, None] - y) ** 2) / (2 * np.median(gaps) ** 2))
        for i in range(5):
            states = 0.5 - (z[:, i][:, None] - z[:, i]) ** 2
            np.testing.assert_allclose(
                found.attributions[s, i], np.trace(states @ h @ outputs @ h) / (n - 1) ** 2, atol=1e-12
            )


def test_hsic_finds_what_matters_and_nothing_else() -> None:
    found = whence.HSIC(n_samples=2000, grid=5).explain(lambda x: np.sin(3 * x[:, 1]) * x[:, 3], X)
    strong, weak = found.attributions[:, [1, 3]], found.attributions[:, [0, 2, 4]]
    assert strong.min() > 5 * weak.max()
    assert not criterion(np.array([[0.0], [1], [1]]), np.ones(3)).any()


def test_cells_of_images_are_patches() -> None:
    images = rng.random((2, 3, 10, 7))
    e = whence.Sobol(n_samples=4, grid=(2, 3)).explain(
        whence.wrap(lambda x: (x**2).sum((1, 2, 3)), layout="NCHW"), images
    )
    assert e.features.values.shape == (2, 6)
    assert (e.attributions[:, :, :5, :3] == e.attributions[:, :1, :1, :1]).all()
    with pytest.raises(ParameterError, match="2 of them"):
        whence.HSIC(grid=(2, 3, 4)).explain(whence.wrap(lambda x: x.sum((1, 2, 3)), layout="NCHW"), images)


@pytest.mark.parametrize("method", [whence.Sobol, whence.HSIC])
def test_constant_models_and_bad_parameters(method: type) -> None:
    with pytest.warns(whence.errors.ZeroAttributionWarning):
        assert not method().explain(lambda x: np.ones(len(x)), X).attributions.any()
    for bad in (dict(n_samples=0), dict(grid=0), dict(grid=(2, 0)), dict(seed=1.5), dict(seed=None)):
        with pytest.raises(ParameterError):
            method(**bad)
    with pytest.raises(ParameterError):
        whence.Sobol(order="second")
