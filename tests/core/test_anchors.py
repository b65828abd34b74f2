"""Anchors: rules that are known beforehand, bounds that hold, and the search's own arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import rel_entr
from sklearn.datasets import load_breast_cancer
from sklearn.tree import DecisionTreeClassifier

import whence
from tests.oracles import Array
from whence.baselines import DataSet
from whence.errors import ParameterError, ShapeError
from whence.features import Texts
from whence.methods.anchor_search import Search, divergence, kl_bound, search

rng = np.random.default_rng(2)
TABLE = rng.random((2000, 5))


def both_high(x: Array) -> Array:
    """Class 1 where columns 1 and 3 are above one half."""
    return np.eye(2)[((x[:, 1] > 0.5) & (x[:, 3] > 0.5)).astype(int)]


def test_the_rule_of_a_rule_is_found() -> None:
    method = whence.AnchorTabular(data=TABLE, names=list("abcde"), percentiles=(50,), seed=4)
    x = np.array([[0.1, 0.9, 0.1, 0.8, 0.2], [0.1, 0.2, 0.9, 0.9, 0.9]])
    e = method.explain(both_high, x)
    notes = e.provenance.notes
    assert [name.split()[0] for name in notes["anchor"][0]] == ["b", "d"] and notes["anchor"][0][0].startswith("b > 0.")
    assert [name.split()[0] for name in notes["anchor"][1]] == ["b"]
    assert e.attributions.tolist() == [[0, 1, 0, 1, 0], [0, 1, 0, 0, 0]]
    assert notes["reached"] == [True, True] and min(notes["precision"]) > 0.9
    for b, columns in enumerate(([1, 3], [1])):
        cells = (TABLE[:, columns] > np.median(TABLE[:, columns], axis=0)) == (x[b, columns] > 0.5)
        assert abs(notes["coverage"][b] - cells.all(1).mean()) < 1e-12


def test_a_prediction_that_nothing_changes_needs_no_rule() -> None:
    with pytest.warns(whence.errors.ZeroAttributionWarning):
        e = whence.AnchorTabular(data=TABLE).explain(lambda x: np.tile([0.2, 0.8], (len(x), 1)), TABLE[:1])
    notes = e.provenance.notes
    assert notes["anchor"] == [[]] and notes["precision"] == [1.0] and notes["coverage"] == [1.0]


def test_a_target_that_is_not_predicted_has_no_anchor() -> None:
    x = np.array([[0.1, 0.9, 0.1, 0.8, 0.2]])
    e = whence.AnchorTabular(data=TABLE, percentiles=(50,)).explain(both_high, x, target=0)
    notes = e.provenance.notes
    assert notes["reached"] == [False] and notes["precision"][0] < 0.95


def test_bounds_hold_on_held_out_draws() -> None:
    """In 95 of 100 seeded runs, the precision on many fresh draws is within the bounds."""
    data = load_breast_cancer()
    tree = DecisionTreeClassifier(max_depth=6, random_state=0).fit(data.data[:, :6], data.target)
    classes = {tuple(row): c for row, c in zip(data.data[:, :6], tree.predict(data.data[:, :6]), strict=True)}
    assert len(classes) > 500
    rows, held = data.data[:, :6], 0
    cells = np.stack([np.searchsorted(np.percentile(rows[:, c], (25, 50, 75)), rows[:, c]) for c in range(6)], 1)
    for seed in range(100):
        b = seed % 20
        method = whence.AnchorTabular(data=rows, seed=seed, n_check=300, max_size=3, beam_size=1)
        e = method.explain(tree, rows[b : b + 1])
        rule = np.flatnonzero(e.attributions[0])
        own = np.random.default_rng(seed)
        drawn = rows[own.integers(0, len(rows), 4000)].copy()
        for c in rule:
            drawn[:, c] = own.choice(rows[cells[:, c] == cells[b, c], c], 4000)
        true = (tree.predict(drawn) == tree.predict(rows[b : b + 1])).mean()
        notes = e.provenance.notes
        held += notes["precision_low"][0] - 0.01 <= true <= notes["precision_high"][0] + 0.01
        assert notes["precision_low"][0] <= notes["precision"][0] <= notes["precision_high"][0]
    assert held >= 95, held


def test_images_are_held_by_their_bright_patch() -> None:
    images = np.zeros((2, 8, 8, 1))
    images[0, :4, :4], images[1, 4:, 4:] = 1.0, 0.9
    mask = (np.arange(8)[:, None] // 4 * 2 + np.arange(8) // 4)[..., None]

    def model(x: Array) -> Array:
        bright = x.mean((1, 2, 3)) > 0.1
        return np.stack([~bright, bright], 1).astype(float)

    picture = whence.wrap(model, layout="NHWC")
    e = whence.AnchorImage(feature_mask=mask, baseline="zeros").explain(picture, images)
    assert e.features.values.tolist() == [[1, 0, 0, 0], [0, 0, 0, 1]]
    assert (e.attributions[0, :4, :4] == 1).all() and e.attributions.sum() == 32
    assert e.provenance.notes["coverage"] == [0.5, 0.5]
    behind = whence.AnchorImage(feature_mask=mask, baseline=DataSet(np.zeros((3, 8, 8, 1)))).explain(picture, images)
    assert behind.features.values.tolist() == e.features.values.tolist()
    whence.AnchorImage(n_check=50, threshold=0.6).explain(picture, np.random.default_rng(3).random((1, 16, 16, 1)))


def test_texts_are_held_by_their_words() -> None:
    def predict(texts: list[str]) -> Array:
        good = np.array(["good" in t.split() and "not" not in t.split() for t in texts])
        return np.stack([~good, good], 1).astype(float)

    texts = Texts(["a good film this is", "this is not good"])
    method = whence.AnchorText(feature_mask=texts.words())
    notes = method.explain(texts.model(predict), texts.ids).provenance.notes
    assert notes["anchor"] == [["good"], ["not"]]
    others = DataSet(np.array([[0, 0, 0, 0, 0], [5, 5, 5, 5, 5]]))
    drawn = whence.AnchorText(feature_mask=texts.words(), baseline=others).explain(texts.model(predict), texts.ids)
    assert drawn.provenance.notes["anchor"] == [["good"], ["not"]]


def test_of_a_single_output_the_class_is_its_side_of_one_half() -> None:
    method = whence.AnchorTabular(data=TABLE, percentiles=(50,))
    e = method.explain(lambda x: (x[:, 1] > 0.5) * 0.8, np.array([[0.1, 0.9, 0.1, 0.8, 0.2]]))
    assert e.attributions.tolist() == [[0, 1, 0, 0, 0]]


def test_seeds_and_batches() -> None:
    method = whence.AnchorTabular(data=TABLE, percentiles=(50,), seed=9)
    x = TABLE[:3]
    e = method.explain(both_high, x)
    again = method.explain(both_high, x, batch_size=7)
    assert dict(e.provenance.notes) == dict(again.provenance.notes)
    alone = method.explain(both_high, x[1:2])
    assert alone.provenance.notes["precision"][0] == e.provenance.notes["precision"][1]


# -- the search ----------------------------------------------------------------------------------------------
def test_bounds_are_where_the_divergence_is() -> None:
    for p in (0.0, 0.1, 0.5, 0.97, 1.0):
        for level in (0.01, 0.3, 2.0):
            for upper in (True, False):
                q = kl_bound(p, level, upper=upper)
                assert (q >= p) if upper else (q <= p)
                if 1e-6 < q < 1 - 1e-6:
                    assert abs(divergence(p, q) - level) < 1e-6
    assert abs(divergence(0.3, 0.6) - (rel_entr(0.3, 0.6) + rel_entr(0.7, 0.4))) < 1e-12


def test_the_search_prefers_coverage_among_precise_rules() -> None:
    own = np.random.default_rng(0)

    def sampler(rules: Any, count: int) -> Array:
        sure = {(0, 1), (2,)}
        p = [1.0 if any(set(s) <= set(rule) for s in sure) else 0.3 for rule in rules]
        return own.random((len(rules), count)) < np.array(p)[:, None]

    coverage = {(0,): 0.6, (1,): 0.7, (2,): 0.2, (0, 1): 0.4}
    settings = Search(0.95, 0.05, 0.15, 100, 3, None, 500)
    found = search(settings, 3, sampler, lambda rule: coverage.get(rule, 0.1 if rule else 1.0))
    assert found.rule == (0, 1) and found.reached and found.precision == 1.0
    short = search(Search(0.95, 0.05, 0.15, 100, 3, 1, 500), 3, sampler, lambda rule: coverage.get(rule, 0.1))
    assert short.rule == (2,)


def test_what_is_refused() -> None:
    for bad in (dict(threshold=1.0), dict(delta=0), dict(tau=2), dict(beam_size=0), dict(n_samples=0), dict(n_check=0),
                dict(max_size=0), dict(seed="a")):  # fmt: skip
        with pytest.raises(ParameterError):
            whence.AnchorTabular(data=TABLE, **bad)
    with pytest.raises(ParameterError, match="training rows"):
        whence.AnchorTabular()
    with pytest.raises(ParameterError):
        whence.AnchorText(probability=1.0)
    with pytest.raises(ParameterError, match="no class"):
        whence.AnchorTabular(data=TABLE).explain(both_high, TABLE[:1], target=lambda y: y[:, 0])
    with pytest.raises(ShapeError, match="5"):
        whence.AnchorTabular(data=TABLE).explain(both_high, TABLE[:1, :4])
