"""LIME against the lime package on the same variants, and against what a linear model must give."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import Lasso, LinearRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeRegressor

import whence
from tests.oracles import Array
from whence.core.designs import on_off
from whence.core.sampling import generator
from whence.core.table import Table
from whence.errors import ParameterError, ShapeError
from whence.features import Superpixels, Texts
from whence.methods.lime import _with_removals

rng = np.random.default_rng(7)
X, KERNEL = rng.standard_normal((3, 9)), rng.standard_normal((9, 6))


def model(x: Array) -> Array:
    return np.tanh(x @ KERNEL).sum(1) + x[:, 0]


def of_lime(z: Array, y: Array, distances: Array, width: float, count: int, selection: str) -> Any:
    """(intercept, coefficients, R2, local prediction) of the lime package."""
    base = pytest.importorskip("lime.lime_base")
    explainer = base.LimeBase(lambda d: np.sqrt(np.exp(-(d**2) / width**2)), random_state=0)
    intercept, pairs, score, local = explainer.explain_instance_with_data(
        z, y[:, None], distances, 0, count, feature_selection=selection
    )
    coefficients = np.zeros(z.shape[1])
    for feature, value in pairs:
        coefficients[feature] = value
    return intercept, coefficients, score, local[0]


@pytest.mark.parametrize(("count", "selection"), [(9, "none"), (4, "auto"), (7, "auto"), (3, "lasso_path"),
                                                  (5, "highest_weights"), (7, "forward_selection")])  # fmt: skip
@pytest.mark.parametrize("kind", ["image", "text"])
def test_the_fit_is_that_of_the_lime_package(kind: str, count: int, selection: str) -> None:
    own = {"forward_selection": "forward"}.get(selection, selection)
    if kind == "image":
        method = whence.LIME(n_samples=200, sampling="independent", n_features=count, feature_selection=own, seed=3)
        z, scale, width = on_off("independent", 199, 9, 0.5, seed=3, stream="lime"), 1, 0.25
    else:
        method = whence.LIMEText(n_samples=200, n_features=count, feature_selection=own, seed=3)
        z, scale, width = _with_removals(199, 9, 3), 100, 25
    z = np.concatenate([np.ones((1, 9)), z])
    found = method.explain(model, X)
    from sklearn.metrics import pairwise_distances

    distances = pairwise_distances(z, z[:1], metric="cosine").ravel() * scale
    for b, x in enumerate(X):
        intercept, coefficients, score, local = of_lime(z, model(z * x), distances, width, count, selection)
        np.testing.assert_allclose(found.attributions[b], coefficients, atol=1e-8)
        notes = found.provenance.notes
        np.testing.assert_allclose(notes["intercept"][b], intercept, atol=1e-8)
        np.testing.assert_allclose(notes["r2"][b], score, atol=1e-8)
        np.testing.assert_allclose(notes["local_prediction"][b], local, atol=1e-8)


def test_removal_takes_away_one_to_all() -> None:
    removed = 7 - _with_removals(7000, 7, 1).sum(1)
    counts = np.bincount(removed, minlength=8)
    assert counts[0] == 0 and (np.abs(counts[1:] - 1000) < 150).all()
    positions = 1 - _with_removals(7000, 7, 1).mean(0)
    assert np.abs(positions - 4 / 7).max() < 0.03


@pytest.mark.parametrize("distance", ["cosine", "euclidean", "hamming"])
@pytest.mark.parametrize("sampling", ["independent", "hadamard", "removal"])
def test_an_additive_model_is_found_exactly(distance: str, sampling: str) -> None:
    weights = np.random.default_rng(8).standard_normal(9)
    method = whence.LIME(
        n_samples=100, sampling=sampling, distance=distance, kernel_width=2.0, surrogate=LinearRegression()
    )
    found = method.explain(lambda x: x @ weights + 2, X)
    np.testing.assert_allclose(found.attributions, X * weights, atol=1e-8)
    np.testing.assert_allclose(found.provenance.notes["intercept"], 2, atol=1e-8)
    np.testing.assert_allclose(found.provenance.notes["r2"], 1, atol=1e-8)
    assert np.abs(found.std_error).max() < 1e-6


def test_standard_errors_are_what_seeds_say() -> None:
    runs = [
        whence.LIME(n_samples=300, seed=s, kernel_width=1.0, sampling="independent").explain(model, X)
        for s in range(80)
    ]
    spread = np.std([run.attributions for run in runs], axis=0)
    told = np.mean([run.std_error for run in runs], axis=0)
    assert 0.8 < np.sqrt((told**2).mean() / (spread**2).mean()) < 1.25


def test_balanced_variants_need_fewer() -> None:
    def error(**options: Any) -> float:
        runs = [whence.LIME(seed=s, kernel_width=1.0, **options).explain(model, X).attributions for s in range(20)]
        return float(np.sqrt(np.mean((np.stack(runs) - truth) ** 2)))

    truth = whence.LIME(n_samples=40000, kernel_width=1.0, seed=99).explain(model, X).attributions
    assert error(n_samples=65) < 0.8 * error(n_samples=65, sampling="independent")


def test_surrogates_kernels_and_what_is_refused() -> None:
    plain = whence.LIME(n_samples=60).explain(model, X).attributions
    again = whence.LIME(n_samples=60, surrogate=Ridge(alpha=1.0), kernel=lambda d: np.exp(-(d**2) / 0.125)).explain(
        model, X
    )
    np.testing.assert_allclose(again.attributions, plain, atol=1e-10)
    sparse = whence.LIME(n_samples=60, surrogate=Lasso(alpha=0.3)).explain(model, X).attributions
    assert (sparse == 0).any() and not (plain == 0).any()
    for bad in (dict(n_samples=0), dict(kernel_width=0), dict(sampling="sobol"), dict(distance="l1"), dict(kernel=3),
                dict(surrogate="ridge"), dict(n_features=0), dict(feature_selection="best")):  # fmt: skip
        with pytest.raises(ParameterError):
            whence.LIME(**bad)
    with pytest.raises(ParameterError, match="10 at least"):
        whence.LIME(n_samples=9).explain(model, X)
    with pytest.raises(ParameterError, match="sample_weight"):
        whence.LIME(surrogate=KNeighborsRegressor())
    with pytest.raises(ParameterError, match="coef_"):
        whence.LIME(n_samples=20, surrogate=DecisionTreeRegressor()).explain(model, X)


def test_images_are_cut_into_superpixels_in_their_mean_colour() -> None:
    rng = np.random.default_rng(9)
    images = rng.random((2, 24, 20, 3))
    weights = rng.standard_normal((24, 20, 3))
    picture = whence.wrap(lambda x: (x * weights).sum((1, 2, 3)), layout="NHWC")
    found = whence.LIME(n_samples=300, surrogate=LinearRegression()).explain(picture, images)
    mask = Superpixels().part(images, picture.layout(4), "input").mask
    for b in range(2):
        drops = []
        for number in np.unique(mask[b]):
            where = mask[b, ..., 0] == number
            filled = images[b, where].mean(0)
            drops.append(((images[b, where] - filled) * weights[where]).sum())
        np.testing.assert_allclose(found.features.values[b, : len(drops)], drops, atol=1e-8)


# -- texts ------------------------------------------------------------------------------------------
def test_words_of_texts() -> None:
    seen: list[str] = []

    def predict(texts: list[str]) -> Array:
        seen.extend(texts)
        return np.array([2.0 * ("good" in t.split()) - 1.0 * ("not" in t.split()) for t in texts])

    texts = Texts(["A good, good film!", "not bad"])
    assert texts.ids.tolist() == [[1, 2, 2, 3], [4, 5, 0, 0]]
    found = whence.LIMEText(n_samples=400, surrogate=LinearRegression()).explain(
        whence.wrap(texts.model(predict), framework="numpy"), texts.ids
    )
    words = whence.LIMEText(n_samples=400, feature_mask=texts.words(), surrogate=LinearRegression()).explain(
        texts.model(predict), texts.ids
    )
    assert [r.name for r in words.top(1)[0]] == ["good"] and abs(words.top(1)[0][0].value - 2) < 1e-6
    assert words.top(1)[1][0].name == "not" and words.features.names(0) == ("A", "good", "film")
    assert "A good, good film!" in seen and "A film" in seen and "" in seen
    assert found.features.values.shape == (2, 4) and words.features.values.shape == (2, 3)
    apart = Texts(["a b a"], together=False, unknown="UNK")
    assert whence.FeatureAblation(feature_mask=apart.words()).explain(
        apart.model(lambda ts: np.array([float(t.count("a")) for t in ts])), apart.ids
    ).features.names() == ("a", "b", "a")
    assert apart.written([0, 2, 0]) == "UNK b" and apart.written([1, 0, 1]) == "a UNK a"
    for bad in ("one string", [], [3], ["..."]):
        with pytest.raises(ParameterError):
            Texts(bad)


# -- tables -----------------------------------------------------------------------------------------
def iris() -> tuple[Any, Array]:
    data = load_iris()
    return RandomForestClassifier(30, random_state=0).fit(data.data, data.target), data.data


def test_cells_and_their_names() -> None:
    table = Table(np.array([[0.0, 5], [1, 5], [2, 7], [3, 9]]), (50,), (1,), ("size", "kind"))
    assert [e.tolist() for e in table.edges] == [[1.5], [5, 7]]
    assert table.cells(np.array([[1.5, 5], [1.6, 7], [-9, 9]])).tolist() == [[0, 0], [1, 1], [0, 2]]
    assert table.described(0, 0, 1.5) == "size <= 1.5" and table.described(0, 1, 2) == "size > 1.5"
    assert table.described(1, 2, 9) == "kind = 9"


def test_drawn_rows_fill_cells_as_training_rows_do() -> None:
    _, data = iris()
    table = Table(data)
    rows, cells = table.drawn(generator(0, "t", 0, 0), 20000)
    for c in range(4):
        share = np.bincount(cells[:, c], minlength=4) / 20000
        wanted = np.bincount(table.training_cells[:, c], minlength=4) / len(data)
        np.testing.assert_allclose(share, wanted, atol=0.015)
        assert rows[:, c].min() >= data[:, c].min() - 1e-9 and rows[:, c].max() <= data[:, c].max() + 1e-9
        for cell in range(4):
            own, drawn = data[table.training_cells[:, c] == cell, c], rows[cells[:, c] == cell, c]
            assert drawn.min() >= own.min() - 1e-9 and drawn.max() <= own.max() + 1e-9
            assert abs(drawn.mean() - own.mean()) < 0.6 * own.std() + 1e-9


def test_the_tabular_fit_is_that_of_the_lime_package() -> None:
    forest, data = iris()
    method = whence.LIMETabular(data=data, n_samples=600, n_features=4, seed=5)
    x = data[[3, 90]]
    found = method.explain(forest, x, target=[0, 1])
    rows, cells = Table(data).drawn(generator(5, "lime_tabular", 0, 0), 599)
    for b, target in enumerate((0, 1)):
        z = np.concatenate([np.ones((1, 4)), cells == Table(data).cells(x)[b]]).astype(float)
        y = forest.predict_proba(np.concatenate([x[b : b + 1], rows]))[:, target]
        distances = np.sqrt(((z - 1) ** 2).sum(1))
        _, coefficients, score, local = of_lime(z, y, distances, 0.75 * 2, 4, "auto")
        np.testing.assert_allclose(found.attributions[b], coefficients, atol=1e-8)
        np.testing.assert_allclose(found.provenance.notes["r2"][b], score, atol=1e-8)
        np.testing.assert_allclose(found.provenance.notes["local_prediction"][b], local, atol=1e-8)
    assert all("column" in name for name in found.features.names(1))


def test_the_lime_package_agrees_over_seeds() -> None:
    """Its own explainer end to end: the same intervals, names and, up to sampling error, coefficients."""
    tabular = pytest.importorskip("lime.lime_tabular")
    forest, data = iris()
    names = ["sl", "sw", "pl", "pw"]
    theirs = tabular.LimeTabularExplainer(data, feature_names=names, random_state=0)
    exp = theirs.explain_instance(data[90], forest.predict_proba, labels=(1,), num_samples=20000)
    wanted = dict(exp.as_list(label=1))
    method = whence.LIMETabular(data=data, names=names, n_samples=20000)
    found = method.explain(forest, data[90:91], target=1)
    ours = dict(zip(found.features.names(0), found.features.values[0], strict=True))

    def plain(name: str) -> str:
        return re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):g}", name)

    assert {plain(name) for name in wanted} == {plain(name) for name in ours}
    for name, value in wanted.items():
        assert abs({plain(own): v for own, v in ours.items()}[plain(name)] - value) < 0.03


def test_tables_that_do_not_fit() -> None:
    _, data = iris()
    for bad in (
        dict(),
        dict(data=data, names=["a"]),
        dict(data=data, categorical=(4,)),
        dict(data=data, kernel_width=0),
    ):
        with pytest.raises(ParameterError):
            whence.LIMETabular(**bad)
    for bad in (data[0], data[:0], np.full((3, 2), np.nan)):
        with pytest.raises(ShapeError):
            whence.LIMETabular(data=bad)
    with pytest.raises(ShapeError, match="4"):
        whence.LIMETabular(data=data).explain(lambda x: x.sum(1), data[:2, :3])
