"""Targets: every form, every error."""

from __future__ import annotations

import numpy as np
import pytest

from whence.backends.numpy import ops
from whence.core.target import Target, select_score
from whence.errors import ShapeError, TargetError

OUTPUT = np.random.default_rng(0).standard_normal((3, 4))
MAPS = np.random.default_rng(1).standard_normal((3, 4, 5, 2))


class TorchLike:
    """What of a tensor elsewhere is used: ``detach().cpu()``, then an array."""

    def __init__(self, values) -> None:
        self.values = np.asarray(values)

    def detach(self):
        return self

    def cpu(self):
        return self.values


def score(target, output=OUTPUT) -> np.ndarray:
    parsed = Target.parse(target, len(output))
    parsed.check(output.shape, range(len(output)))
    return select_score(ops, output, len(output), parsed.fn, parsed.index)[0]


@pytest.mark.parametrize("target", [2, np.int64(2), np.uint8(2), (2,), [2, 2, 2], np.full(3, 2), np.full((3, 1), 2),
                                    np.array(2), TorchLike([2, 2, 2]), TorchLike(2),
                                    lambda out: out[:, 2]])  # fmt: skip
def test_forms_of_one_index(target) -> None:
    assert np.array_equal(score(target), OUTPUT[:, 2])


def test_one_index_per_sample() -> None:
    assert np.array_equal(score([3, 0, 1]), OUTPUT[[0, 1, 2], [3, 0, 1]])
    assert np.array_equal(score((3, 0, 1), MAPS), MAPS[:, 3, 0, 1]), "a tuple is one index"
    per_sample = [(3, 4, 0), (0, 0, 1), (2, 3, 1)]
    assert np.array_equal(score(per_sample, MAPS), [MAPS[b][i] for b, i in enumerate(per_sample)])
    assert np.array_equal(score(np.array(per_sample), MAPS), score(per_sample, MAPS))


def test_none_is_the_predicted_class() -> None:
    found, chosen = select_score(ops, OUTPUT, 3, None, None)
    assert np.array_equal(found, OUTPUT.max(1)) and np.array_equal(chosen[:, 0], OUTPUT.argmax(1))
    single = OUTPUT[:, :1]
    assert np.array_equal(select_score(ops, single, 3, None, None)[0], single[:, 0])
    assert np.array_equal(select_score(ops, single[:, 0], 3, None, None)[0], single[:, 0])


def test_a_single_output_by_index() -> None:
    assert np.array_equal(score(0, OUTPUT[:, 0]), OUTPUT[:, 0])
    with pytest.raises(TargetError, match="from 0 to 0"):
        score(1, OUTPUT[:, 0])


@pytest.mark.parametrize("target", ["cat", 1.5, [0.5, 1, 2], object(), [], [[[0]]], {"a": 1}, b"1", [None, 1, 2],
                                    [True] * 3])  # fmt: skip
def test_wrong_types(target) -> None:
    with pytest.raises(TargetError, match="Valid: None, an int"):
        Target.parse(target, 3)


@pytest.mark.parametrize("target", [[0, 1], [0, 1, 2, 0], np.zeros((2, 1), int)])
def test_wrong_count(target) -> None:
    with pytest.raises(TargetError, match=r"(?s)targets for 3 samples.*one target, or 3 of them"):
        Target.parse(target, 3)


@pytest.mark.parametrize(("target", "words"), [
    (4, "target 4 of sample 0.*from 0 to 3"), (-1, "target -1 of sample 0.*from 0 to 3"),
    ([0, 1, 9], "target 9 of sample 2.*from 0 to 3"), ((1, 1), r"target \(1, 1\) of sample 0.*an int from 0 to 3"),
])  # fmt: skip
def test_out_of_range_names_the_sample_and_the_range(target, words: str) -> None:
    with pytest.raises(TargetError, match=words):
        score(target)


@pytest.mark.parametrize(("target", "words"), [
    ((3, 5, 0), r"target \(3, 5, 0\) of sample 0.*\(0, 0, 0\) to \(3, 4, 1\)"), (1, r"\(0, 0, 0\) to \(3, 4, 1\)"),
    ((1, 2), r"\(0, 0, 0\) to \(3, 4, 1\)"),
])  # fmt: skip
def test_multi_dimensional_outputs(target, words: str) -> None:
    with pytest.raises(TargetError, match=words):
        score(target, MAPS)


def test_none_needs_a_single_axis() -> None:
    with pytest.raises(TargetError, match=r"target None.*callable"):
        select_score(ops, MAPS, 3, None, None)


def test_the_tuple_index_of_the_wrong_length_says_so() -> None:
    parsed = Target.parse((1, 2), 3)
    with pytest.raises(TargetError, match=r"2 indices.*\[B, 4\]"):
        select_score(ops, OUTPUT, 3, None, parsed.index)


@pytest.mark.parametrize("fn", [lambda out: out, lambda out: out.sum(), lambda out: 1.0, lambda out: out[:2, 0],
                                lambda out: None])  # fmt: skip
def test_a_callable_gives_one_score_per_sample(fn) -> None:
    with pytest.raises(TargetError, match=r"a tensor of shape \(3,\)"):
        score(fn)


def test_outputs_without_one_row_per_sample() -> None:
    for output in (OUTPUT[:2], OUTPUT.sum()):
        with pytest.raises(ShapeError, match="one row per sample"):
            select_score(ops, output, 3, None, None)


def test_what_compiled_code_depends_on() -> None:
    def fn(out):
        return out[:, 0]

    assert Target.parse(1, 3).key == Target.parse([0, 1, 2], 3).key == "index"
    assert Target.parse(None, 3).key == "predicted" and Target.parse(fn, 3).key is fn
