"""Several targets from one pass: the numbers of separate calls, each variant evaluated once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import whence
from tests.oracles import Array
from whence.baselines import DataSet
from whence.errors import CapabilityError, TargetError

_rng = np.random.default_rng(5)
X, ROWS, MIX = _rng.standard_normal((3, 6)), _rng.standard_normal((40, 6)), _rng.standard_normal((6, 9))
OUT = _rng.standard_normal((9, 4))
MASK = np.array([[0, 0, 1, 1, 2, 2], [5, 4, 3, 2, 1, 0], [7, 7, 7, 8, 8, 8]])
TARGETS: list[Any] = [2, [0, 1, 3], (1,), lambda out: out[:, 0] - out[:, 3]]


class Counted:
    """A model that counts its rows."""

    def __init__(self) -> None:
        self.rows = 0

    def __call__(self, x: Array) -> Array:
        self.rows += len(x)
        hidden = np.tanh(x @ MIX)
        return (hidden * np.roll(hidden, 1, axis=1)) @ OUT


@pytest.mark.parametrize(
    "method",
    [
        whence.LIMETabular(data=ROWS, n_samples=60),
        whence.KernelSHAP(baseline=DataSet(ROWS[:3]), n_samples=30),
        whence.FeatureAblation(feature_mask=MASK),
        whence.KernelSHAP(feature_mask=MASK, n_samples=20, tol=0.05),
        whence.ShapleySampling(n_samples=4, tol=0.1, max_samples=64),
    ],
    ids=["table", "background", "ragged", "ragged tol", "tol"],
)
def test_every_target_as_by_itself(method: whence.Method) -> None:
    together, alone = Counted(), Counted()
    found = method.explain(together, X, TARGETS, multi_target=True)
    spent = []
    for one, target in zip(found, TARGETS, strict=True):
        before = alone.rows
        wanted = method.explain(alone, X, target)
        spent.append(alone.rows - before)
        np.testing.assert_array_equal(one.attributions, wanted.attributions)
        np.testing.assert_array_equal(one.std_error, wanted.std_error)
        np.testing.assert_array_equal(one.score, wanted.score)
        assert one.provenance.notes.get("n_samples") == wanted.provenance.notes.get("n_samples")
        assert one.provenance.forward == together.rows
    assert together.rows <= max(spent) + 4 * len(ROWS), "as many rows as the target that needs most"
    assert together.rows < sum(spent) / 2


def test_two_by_name() -> None:
    first, second = whence.explain(Counted(), X, "occlusion", np.array([0, 3]), multi_target=True, window=2)
    assert first.target.tolist() == [[0]] * 3 and second.target.tolist() == [[3]] * 3
    assert not np.array_equal(first.attributions, second.attributions)


def test_what_is_refused() -> None:
    method = whence.FeatureAblation()
    for wrong in (None, 3, [], "cat", [None, 1], [0, "cat"]):
        with pytest.raises(TargetError):
            method.explain(Counted(), X, wrong, multi_target=True)
    with pytest.raises(TargetError, match=r"target 4 of sample 0.*from 0 to 3"):
        method.explain(Counted(), X, [1, 4], multi_target=True)
    with pytest.raises(CapabilityError, match=r"anchor_tabular with multi_target.*kernel_shap"):
        whence.AnchorTabular(data=ROWS).explain(Counted(), X, [0, 1], multi_target=True)
