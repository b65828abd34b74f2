"""Shapley values against sums over all orders, and estimators against them: values, standard errors, bad calls."""

from __future__ import annotations

from itertools import combinations, permutations
from math import factorial
from typing import Any

import numpy as np
import pytest

import whence
from tests.oracles import Array
from whence.baselines import DataSet
from whence.core.sampling import generator
from whence.errors import ParameterError
from whence.features import Columns
from whence.methods import pair_process
from whence.methods.coalition_pairs import existing_pairs, pairs
from whence.methods.pair_regression import projection

_rng = np.random.default_rng(12)
X, ROWS, BASE = _rng.standard_normal((3, 5)), _rng.standard_normal((4, 5)), _rng.standard_normal(5)
MIX = _rng.standard_normal((5, 7))


@pytest.fixture
def rng() -> np.random.Generator:
    """Draws that are the same whichever tests ran before."""
    return np.random.default_rng(13)


def model(x: Array) -> Array:
    return np.tanh(x @ MIX[: x.shape[1]]).prod(axis=1) + (x**2).sum(axis=1) * x[:, 0]


def over_all_orders(value: Any, n: int) -> Array:
    """phi ``[n]``: each feature's contribution averaged over all n! orders."""
    total = np.zeros(n)
    for order in permutations(range(n)):
        present: set[int] = set()
        for feature in order:
            before = value(present)
            present = present | {feature}
            total[feature] += value(present) - before
    return total / factorial(n)


def single(x: Array, base: Array) -> Any:
    def value(present: set[int]) -> float:
        return float(model(np.where([i in present for i in range(len(x))], x, base)[None])[0])

    return value


def background(x: Array) -> Any:
    return lambda present: float(np.mean([single(x, row)(present) for row in ROWS]))


def test_exact_values_are_means_over_all_orders() -> None:
    found = whence.ExactShapley(baseline=BASE).explain(model, X, batch_size=9)
    wanted = np.stack([over_all_orders(single(x, BASE), 5) for x in X])
    np.testing.assert_allclose(found.attributions, wanted, atol=1e-12)
    assert np.abs(found.delta).max() < 1e-12 and found.std_error is None
    with_rows = whence.ExactShapley(baseline=DataSet(ROWS)).explain(model, X)
    np.testing.assert_allclose(
        with_rows.attributions, np.stack([over_all_orders(background(x), 5) for x in X]), atol=1e-12
    )
    np.testing.assert_allclose(with_rows.baseline_score, model(ROWS).mean(), atol=1e-12)


def test_groups_and_two_inputs_are_players() -> None:
    columns = Columns(names=list("abcde"), groups={"ab": "ab"})
    found = whence.ExactShapley(baseline=BASE, feature_mask=columns).explain(model, X)

    def grouped(x: Array) -> Any:
        own = single(x, BASE)
        return lambda present: own({i for i in range(5) if max(i - 1, 0) in present})

    wanted = np.stack([over_all_orders(grouped(x), 4) for x in X])
    np.testing.assert_allclose(found.features.values, wanted, atol=1e-12)
    halves = whence.ExactShapley(baseline=(BASE[:2], BASE[2:])).explain(
        lambda a, b: model(np.hstack([a, b])), (X[:, :2], X[:, 2:])
    )
    whole = whence.ExactShapley(baseline=BASE).explain(model, X)
    np.testing.assert_allclose(np.hstack(halves.attributions), whole.attributions, atol=1e-12)


@pytest.mark.parametrize("kind", ["shapley", "taylor"])
def test_interactions_are_second_differences(kind: str, rng: np.random.Generator) -> None:
    """Of a sum of products over pairs, each pair's interaction is its product's second difference."""
    pair, own = rng.standard_normal((5, 5)), rng.standard_normal(5)
    pair = np.triu(pair, 1)
    found = whence.ExactShapley(baseline=BASE, interactions=kind).explain(
        lambda x: np.einsum("bi,ij,bj->b", x, pair, x) + x @ own, X
    )
    change = X - BASE
    wanted = np.einsum("bi,ij,bj->bij", change, pair, change)
    wanted = (wanted + wanted.transpose(0, 2, 1)) / 2
    off = ~np.eye(5, dtype=bool)
    np.testing.assert_allclose(found.features.interactions[:, off], wanted[:, off], atol=1e-12)
    np.testing.assert_allclose(found.features.interactions.sum(2), found.features.values, atol=1e-12)
    alone = [[single_change(x, pair, own, i) for i in range(5)] for x in X]
    diagonal = np.stack([np.diag(m) for m in found.features.interactions])
    np.testing.assert_allclose(diagonal, alone, atol=1e-12)


def single_change(x: Array, pair: Array, own: Array, i: int) -> float:
    """The score's change when feature i alone comes in: what is left when pairs take their second differences."""
    one = BASE.copy()
    one[i] = x[i]
    return float((one @ pair @ one + one @ own) - (BASE @ pair @ BASE + BASE @ own))


# -- orders -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("antithetic", [False, True])
def test_sampling_telescopes_along_its_orders(antithetic: bool) -> None:
    n_samples, seed = 6, 4
    method = whence.ShapleySampling(n_samples=n_samples, antithetic=antithetic, seed=seed, baseline=BASE)
    rows = []

    def counted(x: Array) -> Array:
        rows.append(len(x))
        return model(x)

    found = method.explain(counted, X, batch_size=7)
    assert found.provenance.forward == sum(rows)
    method.explain(counted, X, batch_size=7)
    # the first call looks besides whether the model mixes the rows of a batch
    again = sum(rows) - found.provenance.forward
    assert again == 3 + 3 * (1 + n_samples * 4), "the score, the baseline, F - 1 rows for each order"
    each, drawn = np.zeros((n_samples, *X.shape)), generator(seed, "shapley_sampling", 0, 0).random((n_samples, 5))
    for draw in range(n_samples):
        backwards = antithetic and draw % 2 == 1
        order = np.argsort(drawn[draw - backwards])
        for b, x in enumerate(X):
            current = BASE.copy()
            for feature in order[::-1] if backwards else order:
                before = model(current[None])[0]
                current[feature] = x[feature]
                each[draw, b, feature] = model(current[None])[0] - before
    np.testing.assert_allclose(found.attributions, each.mean(0), atol=1e-12)
    units = each.reshape(3, 2, *X.shape).mean(1) if antithetic else each
    np.testing.assert_allclose(found.std_error, units.std(0, ddof=1) / len(units) ** 0.5, atol=1e-12)
    assert np.abs(found.delta).max() < 1e-12


@pytest.mark.parametrize(
    "method",
    [
        whence.KernelSHAP(n_samples=16, baseline=BASE),
        whence.ShapleySampling(n_samples=16, baseline=BASE),
        whence.ShapleySampling(n_samples=16, baseline=BASE, antithetic=False),
    ],
    ids=["kernel", "antithetic", "orders"],
)
def test_estimators_are_unbiased_and_know_their_error(method: Any, rng: np.random.Generator) -> None:
    """Over many seeds: the mean is the exact value, and squared errors are what standard errors say.

    A posterior mean is nearer for being drawn towards smooth games, which is the lesser part of its error, and told.
    """
    wide = rng.standard_normal((2, 9))
    kernel = rng.standard_normal((9, 6)) / 2

    def nine(x: Array) -> Array:
        return np.tanh(x @ kernel).sum(1) + np.sin(x[:, 0] * x[:, 1])

    exact = whence.ExactShapley().explain(nine, wide).attributions
    size = {"kernel_shap": 60, "shapley_sampling": 16}[method.name]
    runs = [
        type(method)(**{**method.params, "baseline": "zeros", "n_samples": size, "seed": seed}).explain(nine, wide)
        for seed in range(150)
    ]
    errors = np.stack([run.attributions - exact for run in runs])
    told = np.stack([run.std_error for run in runs])
    if method.name == "kernel_shap":
        assert (errors.mean(0) ** 2).mean() < (errors**2).mean() / 3
        assert (np.abs(errors) < 1.96 * told).mean() > 0.9
    else:
        assert (np.abs(errors.mean(0)) < 5 * errors.std(0) / 150**0.5 + 1e-3 * np.abs(exact).max()).all()
    ratio = np.sqrt((told**2).mean() / (errors**2).mean())
    assert 0.8 < ratio < 1.25, ratio
    assert max(np.abs(run.delta).max() for run in runs) < 1e-10


# -- KernelSHAP -------------------------------------------------------------------------------------
@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_all_coalitions_give_exact_values(n: int) -> None:
    found = whence.KernelSHAP().explain(model, X[:, :n])
    wanted = np.stack([over_all_orders(single(x[:n], np.zeros(n)), n) for x in X]) if n < 6 else None
    if wanted is None:
        return
    np.testing.assert_allclose(found.attributions, wanted, atol=1e-10)
    assert not found.std_error.any() and found.provenance.notes["n_samples"] == 2**n - 2


def a_game_of_eight(rng: np.random.Generator) -> tuple[Any, Array]:
    kernel = rng.standard_normal((8, 5))
    return lambda x: np.tanh(x @ kernel).sum(1) * (1 + x[:, 0]), rng.standard_normal((1, 8))


def test_the_solution_is_a_posterior_mean_over_interactions(rng: np.random.Generator) -> None:
    """Bayesian regression on the products of an odd number of signs, those of one all but free."""
    (eight, wide), n = a_game_of_eight(rng), 8
    subsets = [t for k in (1, 3, 5, 7) for t in combinations(range(n), k)]
    design = pairs(n, 40, 2)
    z = np.concatenate([np.ones((1, n)), 2.0 * design.member - 1])
    products = np.stack([z[:, list(t)].prod(1) for t in subsets], axis=1)
    c, s = np.cosh(2 / n), np.sinh(2 / n)
    prior = np.array([1e5 if len(t) == 1 else c ** (n - len(t)) * s ** len(t) for t in subsets])
    g = (eight((z + 1) / 2 * wide) - eight((1 - z) / 2 * wide)) / 2
    noise = np.diag(np.r_[0, np.full(40, 1e-8)])
    inverse = np.linalg.inv(products * prior @ products.T + noise)
    to_values = np.array([[2 / len(t) * (i in t) for t in subsets] for i in range(n)])
    found = whence.KernelSHAP(n_samples=80, seed=2).explain(eight, wide)
    wanted = to_values @ (prior * (products.T @ inverse @ g))
    np.testing.assert_allclose(found.attributions[0], wanted, atol=1e-5)

    posterior = np.diag(prior) - prior[:, None] * (products.T @ inverse @ products) * prior
    left_out = (inverse @ g)[1:] ** 2 / np.diag(inverse)[1:]
    error = np.sqrt(np.diag(to_values @ posterior @ to_values.T) * left_out.mean())
    np.testing.assert_allclose(found.std_error[0], error, rtol=1e-2)  # rounding, with so wide a prior


@pytest.mark.parametrize(("n", "count", "parted"), [(12, 400, True), (8, 120, False)])
def test_many_pairs_are_solved_in_parts(
    n: int, count: int, parted: bool, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts are averaged, unless the regression over all pairs is nearer, as it is once few are missing."""
    wide, kernel = rng.standard_normal((1, n)), rng.standard_normal((n, 9)) / 3

    def game(x: Array) -> Array:
        return np.tanh(x @ kernel).sum(1)

    exact, errors, told = whence.ExactShapley().explain(game, wide).attributions, [], []
    monkeypatch.setattr(pair_process, "MOST_PAIRS", count // 2)
    for seed in range(100, 130):
        design = pairs(n, count, seed)
        v = game(np.concatenate([design.member, ~design.member]) * wide)[:, None]
        given = v[:count] - v[count:], game(wide) - game(0 * wide)
        each = [part.solution(given[0][i::2], given[1]) for i, part in enumerate(pair_process.posteriors(design))]
        whole = projection(design).solution(*given)
        values, error = pair_process.solution(design, *given)
        assert len(each) == 2
        np.testing.assert_allclose(values, (each[0][0] + each[1][0]) / 2 if parted else whole[0])
        assert np.linalg.norm(error) <= np.linalg.norm(whole[1])
        errors.append(values - exact)
        told.append(error)
    ratio = np.sqrt(np.mean(np.square(told)) / np.mean(np.square(errors)))
    assert 0.7 < ratio < 1.4, ratio


def test_values_come_to_the_exact_ones_sooner_than_by_regression_over_the_same_pairs(rng: np.random.Generator) -> None:
    eight, wide = a_game_of_eight(rng)
    exact, norms = whence.ExactShapley().explain(eight, wide).attributions, []
    for count in (20, 50, 100):
        found = []
        for seed in range(30):
            design = pairs(8, count, seed)
            v = eight(np.concatenate([design.member, ~design.member]) * wide)[:, None]
            given = v[:count] - v[count:], eight(wide) - eight(0 * wide)
            both = pair_process.solution(design, *given)[0], projection(design).solution(*given)[0]
            found.append([np.linalg.norm(values - exact) for values in both])
        norms.append(np.mean(found, axis=0) / np.linalg.norm(exact))
    process, regression = np.transpose(norms)
    assert (process < (1.0, 0.9, 0.5) * regression).all() and process[2] < process[0] / 10, norms


def test_few_pairs_tell_of_games_without_interactions(rng: np.random.Generator) -> None:
    wide = rng.standard_normal((3, 20))
    found = whence.KernelSHAP(n_samples=50).explain(lambda x: x @ np.arange(20.0) + 1, wide)
    np.testing.assert_allclose(found.attributions, wide * np.arange(20), atol=1e-7)
    assert found.std_error.max() < 1e-5


def test_the_solution_for_chosen_features_is_that_of_weighted_least_squares(rng: np.random.Generator) -> None:
    """The constraint by a heavy weight, the coalitions as drawn, solved by NumPy."""
    (eight, wide), n = a_game_of_eight(rng), 8
    design = pairs(n, 40, 2)
    z = np.concatenate([design.member, ~design.member]).astype(float)
    w = np.concatenate([design.weight, design.weight])
    zero = np.zeros((1, n))
    full = eight(wide)[0] - eight(zero)[0]
    rows = np.concatenate([np.sqrt(w)[:, None] * z, 1e5 * np.ones((1, n))])
    aim = np.concatenate([np.sqrt(w) * (eight(z * wide) - eight(zero)[0]), [1e5 * full]])
    wanted = np.linalg.lstsq(rows, aim, rcond=None)[0]
    found = whence.KernelSHAP(n_samples=80, seed=2, l1_reg=1e-9).explain(eight, wide)
    np.testing.assert_allclose(found.attributions[0], wanted, atol=1e-6)


def test_coalitions_are_distinct_pairs_and_smaller_designs_are_part_of_larger_ones() -> None:
    for n, count in ((2, 1), (5, 7), (12, 200), (12, 2047), (25, 300), (40, 500)):
        design = pairs(n, count, 3)
        assert len(design.member) == count
        both = np.concatenate([design.member, ~design.member])
        assert len(np.unique(np.packbits(both, axis=1), axis=0)) == 2 * count
        assert both.sum(1).min() > 0 and both.sum(1).max() < n
        smaller = pairs(n, max(count // 2, 1), 3)
        for stratum, drawn in enumerate(smaller.drawn):
            mine = design.member[design.stratum == stratum][:drawn]
            assert np.array_equal(mine, smaller.member[smaller.stratum == stratum][: len(mine)])
    assert sum(existing_pairs(12)) == 2047 and pairs(12, 2047, 0).complete
    drawn = pairs(30, 290, 0).drawn
    assert drawn[1:-1].min() == drawn[1:-1].max() == 20 and drawn[-1] == 10, "sizes about equally often"


def test_tol_spends_until_the_error_is_small(rng: np.random.Generator) -> None:
    wide, kernel = rng.standard_normal((2, 14)), rng.standard_normal((14, 9)) / 3

    def fourteen(x: Array) -> Array:
        return np.tanh(x @ kernel).sum(1)

    exact = whence.ExactShapley().explain(fourteen, wide).attributions
    for method, what in ((whence.KernelSHAP, {}), (whence.ShapleySampling, {"max_samples": 20_000})):
        rough = method(tol=0.2, **what).explain(fourteen, wide)
        fine = method(tol=0.03, **what).explain(fourteen, wide)
        assert rough.provenance.notes["n_samples"] < fine.provenance.notes["n_samples"]
        error = np.linalg.norm(fine.attributions - exact, axis=1) / np.linalg.norm(exact, axis=1)
        assert error.max() < 0.06
        assert fine.provenance.forward < 2 * (fine.provenance.notes["n_samples"] * 14 + 2), "nothing evaluated twice"


@pytest.mark.parametrize("rule", [2, "aic", "bic", 0.05])
def test_few_features_are_kept_and_values_still_add_up(rule: Any, rng: np.random.Generator) -> None:
    wide = rng.uniform(0.5, 2, (3, 12)) * rng.choice([-1, 1], (3, 12))  # nothing that a penalty may rightly drop
    found = whence.KernelSHAP(l1_reg=rule, n_samples=400).explain(lambda x: 3 * x[:, 4] - 2 * x[:, 7] + 1, wide)
    wanted = np.zeros((3, 12))
    wanted[:, 4], wanted[:, 7] = 3 * wide[:, 4], -2 * wide[:, 7]
    np.testing.assert_allclose(found.attributions, wanted, atol=1e-8)
    assert np.abs(found.delta).max() < 1e-10


# -- edges ------------------------------------------------------------------------------------------
METHODS = (whence.ExactShapley, whence.ShapleySampling, whence.KernelSHAP)


@pytest.mark.parametrize("method", METHODS)
def test_one_feature_has_the_whole_change(method: type) -> None:
    found = method(feature_mask=np.zeros(5, int)).explain(model, X)
    np.testing.assert_allclose(found.features.values[:, 0], model(X) - model(0 * X), atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_constant_models_and_samples_at_the_baseline(method: type) -> None:
    with pytest.warns(whence.errors.ZeroAttributionWarning):
        assert not method().explain(lambda x: np.full(len(x), 1.5), X).attributions.any()
    with pytest.warns(whence.errors.ZeroAttributionWarning):
        assert np.abs(method(baseline=X).explain(model, X).attributions).max() < 1e-12


@pytest.mark.parametrize("method", METHODS)
def test_samples_with_different_numbers_of_features(method: type) -> None:
    mask = np.array([[0, 0, 1, 1, 2], [5, 4, 3, 2, 1], [7, 7, 7, 8, 8]])
    found = method(feature_mask=mask, baseline=BASE).explain(model, X)
    for b in range(3):
        alone = method(feature_mask=mask[b], baseline=BASE).explain(model, X[b : b + 1])
        np.testing.assert_allclose(found.attributions[b : b + 1], alone.attributions, atol=1e-10)
    assert np.isnan(found.features.values).sum() == 2 + 3


def test_what_is_refused() -> None:
    for bad in (dict(n_samples=0), dict(tol=0), dict(tol=-1.0), dict(seed="x"), dict(max_samples=0)):
        for method in (whence.KernelSHAP, whence.ShapleySampling):
            with pytest.raises(ParameterError):
                method(**bad)
    for bad in (dict(l1_reg="lasso"), dict(l1_reg=0), dict(l1_reg=-1.0), dict(l1_reg=True)):
        with pytest.raises(ParameterError):
            whence.KernelSHAP(**bad)
    with pytest.raises(ParameterError, match="interactions"):
        whence.ExactShapley(interactions=True)
    with pytest.raises(ParameterError, match="2\\^30"):
        whence.ExactShapley().explain(lambda x: x.sum(1), np.ones((1, 30)))
    with pytest.raises(ParameterError, match="58 coalitions"):
        whence.KernelSHAP(n_samples=31).explain(lambda x: x.sum(1), np.ones((1, 30)))


# -- Owen values -------------------------------------------------------------------------------------------
def consistent(node: Any) -> Any:
    """All orders in which the features below each node are consecutive."""
    if isinstance(node, int):
        yield (node,)
        return
    for children in permutations(node):
        parts: list[tuple[int, ...]] = [()]
        for child in children:
            parts = [before + own for before in parts for own in consistent(child)]
        yield from parts


@pytest.mark.parametrize("hierarchy", [((0, 1), (2, (3, 4))), ((0, 4, 2), 1, 3), (0, 1, 2, 3, 4), "halves"])
def test_owen_values_are_means_over_consistent_orders(hierarchy: Any) -> None:
    tree = (((0, 1), 2), (3, 4)) if hierarchy == "halves" else hierarchy
    orders = list(consistent(tree))
    value = single(X[0], BASE)
    wanted = np.zeros(5)
    for order in orders:
        for place, feature in enumerate(order):
            wanted[feature] += (value(set(order[: place + 1])) - value(set(order[:place]))) / len(orders)
    found = whence.OwenValues(hierarchy=hierarchy, n_samples=3000, baseline=BASE).explain(model, X[:1])
    error = np.maximum(found.std_error[0], 1e-12)
    assert (np.abs(found.attributions[0] - wanted) < 5 * error).all()
    assert (error < 0.05 * np.abs(wanted).max()).all() and np.abs(found.delta).max() < 1e-10


def test_hierarchies_that_do_not_fit() -> None:
    for bad in ((0, 2), ((0, 1), 1), (0, "a"), "thirds", ((), 0), 1.5):
        with pytest.raises(ParameterError):
            whence.OwenValues(hierarchy=bad)
    with pytest.raises(ParameterError, match="one of 5"):
        whence.OwenValues(hierarchy=((0, 1), 2)).explain(model, X)
