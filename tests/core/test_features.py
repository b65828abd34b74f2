"""How inputs are cut into features, what stands for absent ones, and what comes back per feature."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import whence
from whence.baselines import Blur, DataSet, FeatureMean, Inpaint
from whence.errors import BaselineError, NonFiniteError, ParameterError, ShapeError
from whence.features import Columns, Fixed, Grid, Numbers, Pixels, Superpixels, Tokens

rng = np.random.default_rng(3)
TABLE = rng.standard_normal((4, 5))
IMAGES = rng.random((2, 6, 7, 3))
WEIGHTS = rng.standard_normal(5)
IMAGE_WEIGHTS = rng.standard_normal((6, 7, 3))


def table_model(x: np.ndarray) -> np.ndarray:
    return x @ WEIGHTS


def image_model(x: np.ndarray) -> np.ndarray:
    return (x * IMAGE_WEIGHTS).sum((1, 2, 3))


picture_model = whence.wrap(image_model, layout="NHWC")


def ablated(mask: Any, baseline: Any = "zeros") -> whence.Explanation:
    return whence.FeatureAblation(feature_mask=mask, baseline=baseline).explain(picture_model, IMAGES)


def test_numbers_need_not_be_contiguous() -> None:
    mask = np.array([7, 100, 7, 2, 100])
    e = whence.FeatureAblation(feature_mask=mask).explain(table_model, TABLE)
    parts = TABLE * WEIGHTS
    wanted = np.stack([parts[:, 3], parts[:, 0] + parts[:, 2], parts[:, 1] + parts[:, 4]], axis=1)
    np.testing.assert_allclose(e.features.values, wanted, atol=1e-12)
    np.testing.assert_allclose(e.attributions, wanted[:, [1, 2, 1, 0, 2]], atol=1e-12)
    assert e.features.names(2) == ("feature 2", "feature 7", "feature 100")


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.int64])
def test_masks_broadcast_and_may_differ_by_sample(kind: type) -> None:
    mask = np.array([[0, 0, 1, 1, 2], [3, 3, 3, 3, 3], [0, 1, 2, 3, 4], [9, 9, 1, 1, 1]], kind)
    e = whence.FeatureAblation(feature_mask=mask).explain(table_model, TABLE, batch_size=3)
    parts = TABLE * WEIGHTS
    for b in range(4):
        for number in np.unique(mask[b]):
            same = mask[b] == number
            np.testing.assert_allclose(e.attributions[b][same], parts[b][same].sum(), atol=1e-12)
    assert np.isnan(e.features.values).sum() == 2 + 4 + 3
    assert [len(e.features.names(b)) for b in range(4)] == [3, 1, 5, 2]


def test_one_number_in_two_inputs_is_one_feature() -> None:
    first, second = TABLE[:, :2], TABLE[:, 2:]
    masks = (np.array([0, 1]), np.array([1, 2, 0]))
    e = whence.FeatureAblation(feature_mask=masks).explain(lambda a, b: table_model(np.hstack([a, b])), (first, second))
    parts = TABLE * WEIGHTS
    np.testing.assert_allclose(e.attributions[0][:, 0], parts[:, 0] + parts[:, 4], atol=1e-12)
    np.testing.assert_allclose(e.attributions[1][:, 0], parts[:, 1] + parts[:, 2], atol=1e-12)
    assert e.features.values.shape == (4, 3)
    apart = whence.FeatureAblation(feature_mask=(Numbers(), Columns(names="pqr"))).explain(
        lambda a, b: table_model(np.hstack([a, b])), (first, second)
    )
    assert apart.features.names() == ("input[0] feature 0", "input[0] feature 1", "p", "q", "r")
    np.testing.assert_allclose(np.hstack(apart.attributions), parts, atol=1e-12)


def test_a_fixed_input_is_left_alone() -> None:
    seen = []

    def model(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        seen.append(b)
        return a.sum(1) * b.sum(1)

    e = whence.FeatureAblation(feature_mask={"a": None, "b": Fixed()}).explain(model, {"a": TABLE, "b": TABLE + 1})
    assert not e.attributions["b"].any() and e.attributions["a"].any() and e.features.values.shape == (4, 5)
    assert all(row in (TABLE + 1).tolist() for rows in seen for row in rows.tolist())
    with pytest.raises(ShapeError, match="held fixed"):
        whence.FeatureAblation(feature_mask=Fixed()).explain(table_model, TABLE)


def test_grids_and_pixels() -> None:
    parts = (IMAGES * IMAGE_WEIGHTS).sum(-1)
    np.testing.assert_allclose(ablated(Pixels()).attributions, np.repeat(parts[..., None], 3, -1), atol=1e-12)
    e = ablated(Grid((4, 3)))
    assert e.features.values.shape == (2, 2 * 3)
    for rows in (slice(0, 4), slice(4, 6)):
        for columns in (slice(0, 3), slice(3, 6), slice(6, 7)):
            found = e.attributions[:, rows, columns]
            np.testing.assert_allclose(
                found - parts[:, rows, columns].sum((1, 2))[:, None, None, None], 0 * found, atol=1e-12
            )
    with pytest.raises(ShapeError, match="layout"):
        whence.FeatureAblation(feature_mask=Pixels()).explain(image_model, IMAGES)
    with pytest.raises(ParameterError, match="2 of them"):
        ablated(Grid((1, 2, 3)))


@pytest.mark.parametrize(
    ("algorithm", "options"),
    [("quickshift", {}), ("slic", {"n_segments": 6}), ("felzenszwalb", {"min_size": 4}), ("watershed", {"markers": 5})],
)
def test_superpixels(algorithm: str, options: dict[str, Any]) -> None:
    e = ablated(Superpixels(algorithm, options))
    parts = (IMAGES * IMAGE_WEIGHTS).sum(-1)
    mask = e.features.masks[0]
    for b in range(2):
        own = np.broadcast_to(mask[b], (6, 7, 1))[..., 0]
        sums = [parts[b][own == i].sum() for i in range(len(e.features.names(b)))]
        np.testing.assert_allclose(e.features.values[b][: len(sums)], sums, atol=1e-12)


def test_columns_in_groups() -> None:
    columns = Columns(names=["age", "sex", "bmi", "bp", "s1"], groups={"body": ["bmi", 3]})
    e = whence.FeatureAblation(feature_mask=columns).explain(table_model, TABLE)
    assert e.features.names() == ("age", "sex", "body", "s1")
    np.testing.assert_allclose(e.features.values[:, 2], (TABLE * WEIGHTS)[:, 2:4].sum(1), atol=1e-12)
    best = e.top(1)[0][0]
    assert best.value == e.features.values[0][best.number] and abs(best.value) == np.abs(e.features.values[0]).max()
    assert all(entry.value < 0 for row in e.top(5, sign=-1) for entry in row)
    with pytest.raises(ParameterError, match="weight"):
        Columns(names=list("abcde"), groups={"g": ["weight"]}).part(TABLE, whence.core.layout.Layout(), "input")
    with pytest.raises(ShapeError, match="4 names"):
        whence.FeatureAblation(feature_mask=Columns(names="abcd")).explain(table_model, TABLE)


def test_tokens_of_whole_numbers() -> None:
    embedding = rng.standard_normal(20)
    ids = rng.integers(1, 20, (3, 6))
    words = [0, 0, 1, 2, 2, 2]
    e = whence.FeatureAblation(feature_mask=Tokens(words=words, names=["un", "believ", "able"])).explain(
        lambda t: embedding[t].sum(1), ids
    )
    drops = embedding[ids] - embedding[0]
    np.testing.assert_allclose(
        e.features.values, np.stack([drops[:, :2].sum(1), drops[:, 2], drops[:, 3:].sum(1)], 1), atol=1e-12
    )
    assert e.attributions.dtype == np.float64 and e.features.names() == ("un", "believ", "able")
    for bad in ([0, 1], [0.0] * 6):
        with pytest.raises(ShapeError, match="word numbers"):
            whence.FeatureAblation(feature_mask=Tokens(words=bad)).explain(lambda t: embedding[t].sum(1), ids)


# -- what stands in the place of absent features ---------------------------------------------------------------------
def test_background_means_the_mean_score_over_its_rows() -> None:
    rows = rng.standard_normal((7, 5))
    e = whence.FeatureAblation(baseline=DataSet(rows)).explain(lambda x: x**2 @ WEIGHTS, TABLE, batch_size=5)
    np.testing.assert_allclose(e.attributions, (TABLE**2 - (rows**2).mean(0)) * WEIGHTS, atol=1e-12)


def test_the_mean_of_each_superpixel_and_inpainting() -> None:
    mask = np.arange(42).reshape(6, 7)[..., None] // 20
    e = ablated(mask, FeatureMean())
    filled = IMAGES.copy()
    for b in range(2):
        for channel in range(3):
            for number in range(3):
                where = mask[..., 0] == number
                filled[b, where, channel] = IMAGES[b, where, channel].mean()
    parts = ((IMAGES - filled) * IMAGE_WEIGHTS).sum(-1)
    for number in range(3):
        np.testing.assert_allclose(e.features.values[:, number], parts[:, mask[..., 0] == number].sum(1), atol=1e-12)
    flat = np.full((1, 6, 7, 3), 0.3)  # what is missing from an even picture is painted as it was
    even = whence.FeatureAblation(feature_mask=mask, baseline=Inpaint()).explain(picture_model, flat + 0.0)
    np.testing.assert_allclose(even.attributions, 0, atol=1e-6)


@pytest.mark.parametrize("baseline", ["mean", "blur", 0.5, Blur(1.0), FeatureMean()])
def test_baselines_of_whole_numbers_are_whole(baseline: Any) -> None:
    with pytest.raises(BaselineError):
        whence.Occlusion(window=1, baseline=baseline).explain(lambda t: t.sum(1), np.arange(6).reshape(2, 3))


# -- what is refused ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("mask", "error", "words"),
    [
        (np.zeros((4, 4), int), ShapeError, "shape (4, 4)"),
        (np.zeros((3, 5), int), ShapeError, "(4, 5)"),
        (np.zeros(5), ParameterError, "float64"),
        (np.array([0, 1, -1, 2, 3]), ParameterError, "negative"),
        ("superpixels", ParameterError, "superpixels"),
        ((None, None), ShapeError, "tuple of 2"),
    ],
)
def test_wrong_masks(mask: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        whence.FeatureAblation(feature_mask=mask).explain(table_model, TABLE)


def test_a_predictor_that_gives_nan_for_a_perturbed_input() -> None:
    with pytest.raises(NonFiniteError, match="sample 2"):
        whence.FeatureAblation().explain(
            lambda x: np.where((x == 0).any(1) & (x == TABLE[2, 4]).any(1), np.nan, 1.0), TABLE
        )


def test_a_predictor_that_changes_its_outputs() -> None:
    calls = []

    def fickle(x: np.ndarray) -> np.ndarray:
        calls.append(len(x))
        return np.ones((len(x), 3 if len(calls) < 4 else 2)) * x.sum(1, keepdims=True)

    with pytest.raises(ShapeError, match=r"\(3,\) per sample in one call, \(2,\)"):
        whence.FeatureAblation().explain(fickle, TABLE, 0, batch_size=2)


def test_a_constant_model_is_said_to_be_one() -> None:
    with pytest.warns(whence.errors.ZeroAttributionWarning):
        e = whence.FeatureAblation().explain(lambda x: np.full(len(x), 2.5), TABLE)
    assert not e.attributions.any()


def test_one_feature_has_the_whole_change() -> None:
    e = whence.FeatureAblation(feature_mask=np.zeros(5, int)).explain(table_model, TABLE)
    np.testing.assert_allclose(e.features.values[:, 0], table_model(TABLE), atol=1e-12)


def test_files_keep_features(tmp_path: Path) -> None:
    e = ablated(Superpixels("slic", {"n_segments": 5}))
    again = whence.load(e.save(tmp_path / "e.npz"))
    assert again.top(3) == e.top(3) and again.features.labels == e.features.labels
    np.testing.assert_array_equal(again.features.masks[0], e.features.masks[0])
    with pytest.raises(ParameterError, match="without features"):
        whence.Occlusion(window=2).explain(table_model, TABLE).top(1)
