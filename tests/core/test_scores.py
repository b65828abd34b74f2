"""Targets beyond a class index, on models whose gradients are known, on every framework that is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import whence
from whence import targets
from whence.core.scores import Score
from whence.core.target import Target
from whence.errors import TargetError

X = np.random.default_rng(0).standard_normal((3, 4))


def identity(x: Any) -> Any:
    return x * 1.0


def slopes(target: Any, x: np.ndarray, fn: Any = identity) -> np.ndarray:
    """The difference quotient of the score by each input, by leaving one feature at a time out of a linear score."""
    e = whence.FeatureAblation(baseline=x - 1).explain(fn, x, target)
    assert e.target is None
    return np.asarray(e.attributions)


def test_contrast_of_classes_per_sample() -> None:
    found = slopes(targets.Contrast([0, 1, 2], 3), X)
    wanted = np.eye(4)[[0, 1, 2]] - np.eye(4)[[3, 3, 3]]
    assert np.allclose(found, wanted)


def test_region_is_a_mean_over_its_pixels() -> None:
    x = np.random.default_rng(1).standard_normal((2, 3, 4, 5))
    mask = np.zeros((2, 4, 5), bool)
    mask[0, 1:3, 2], mask[1, 0, 0] = True, True
    found = slopes(targets.Region(mask, 2), x)
    wanted = np.zeros_like(x)
    wanted[0, 2, 1:3, 2], wanted[1, 2, 0, 0] = 0.5, 1
    assert np.allclose(found, wanted)
    last = slopes(targets.Region(mask, 2, axis=-1), np.moveaxis(x, 1, -1))
    assert np.allclose(np.moveaxis(last, -1, 1), wanted)
    assert np.allclose(slopes(targets.Region(mask[0]), x[:, 0]), mask[[0, 0]] / 2)


def test_similarity_is_the_cosine() -> None:
    to = np.array([1.0, 2.0, -1.0, 0.5])
    e = whence.FeatureAblation().explain(identity, X, targets.Similarity(to))
    assert np.allclose(e.score, X @ to / np.linalg.norm(X, axis=1) / np.linalg.norm(to))


def test_box_takes_the_score_of_the_box_that_overlaps_most() -> None:
    boxes = np.array([[0, 0, 2, 2], [1, 1, 4, 4], [5, 5, 6, 6]], float)
    scores = np.random.default_rng(2).random((2, 3, 4))
    outputs = np.concatenate([np.broadcast_to(boxes, (2, 3, 4)), scores], axis=2)
    target = targets.Box([[0, 0, 2.5, 2.5], [4.9, 5, 6, 6]], category=1)
    e = whence.FeatureAblation().explain(identity, outputs, target)
    assert np.allclose(e.score, [scores[0, 0, 1], scores[1, 2, 1]])


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_what_is_known_follows_the_sample(batch_size: int) -> None:
    target = targets.Similarity(np.random.default_rng(3).standard_normal((3, 4)))
    usual = whence.FeatureAblation().explain(identity, X, target)
    chunked = whence.FeatureAblation().explain(identity, X, target, batch_size=batch_size)
    assert np.allclose(usual.attributions, chunked.attributions)


@pytest.mark.parametrize(
    ("target", "x"),
    [
        (targets.Contrast([0, 1], 2), X),
        (targets.Contrast(-1, 2), X),
        (targets.Contrast(0, 4), X),
        (targets.Contrast(0.5, 1), X),
        (targets.Contrast(0, 1), X[..., None]),
        (targets.Region(np.zeros((2, 2))), np.ones((3, 2, 2))),
        (targets.Region(np.ones((2, 2)), 5), np.ones((3, 2, 2, 2))),
        (targets.Region(np.ones((3, 3))), np.ones((3, 2, 2))),
        (targets.Similarity(np.ones(5)), X),
        (targets.Box(np.ones(3)), np.ones((3, 2, 5))),
        (targets.Box(np.ones(4), category=1), np.ones((3, 2, 5))),
    ],
)
def test_bad_targets(target: Score, x: np.ndarray) -> None:
    with pytest.raises(TargetError):
        whence.FeatureAblation().explain(identity, x, target)


def test_equal_targets_share_compiled_code() -> None:
    first, second = Target.parse(targets.Contrast(0, 1), 2), Target.parse(targets.Contrast([1, 1], 0), 2)
    assert first.key == second.key and hash(first.key) == hash(second.key)
