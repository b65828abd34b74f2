"""The verdict of the demonstration on results made by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from whence.report import agreement
from whence.report.cases import Case
from whence.report.digits import Digits, page
from whence.report.frameworks import Framework
from whence.report.results import Found, Results

A = Framework("torch", "A", (), "", channels_last=False)
B = Framework("jax", "B", (), "", channels_last=False)
CASE = Case("saliency", "", lambda _: {})


def results(differences: dict[str, np.ndarray], notes: dict[str, Any] | None = None) -> Results:
    """Ten digits; framework B's maps differ from A's by ``differences`` per digit and dtype; |a| is 1 at most."""
    labels = np.arange(10)
    made = Results(
        digits=Digits(np.zeros((10, 1, 8, 8), np.float32), labels), training=Digits(np.zeros((0, 1, 8, 8)), labels[:0]),
        predicted=labels, accuracy=1.0, tested=10, frameworks=(A, B), absent=(), cases=(CASE,), seconds_training=0.0,
        trained_on=A, weights={},
    )  # fmt: skip
    for dtype, difference in differences.items():
        for framework, shift in ((A, 0 * difference), (B, difference)):
            values = np.ones((10, 1, 8, 8)) + shift[:, None, None, None]
            noted = (notes or {}).get(framework.name, {})
            explanation: Any = SimpleNamespace(provenance=SimpleNamespace(notes=noted), delta=None)
            made.found[dtype, framework.name, CASE.label] = Found(explanation, values)
            made.logits[dtype, framework.name] = np.eye(10)
    return made


def one(value: float) -> np.ndarray:
    return np.array([0, 0, 0, value, 0, 0, 0, 0, 0, 0.0])


def test_agreement_is_kept() -> None:
    made = results({"float32": one(1e-6), "float64": one(1e-12)})
    found = agreement.compare(made)
    assert len(found) == 2 and all(c.kept and not c.excuse for c in found) and agreement.verdict(made, found) == []


def test_one_digit_beyond_is_rounding_where_float64_agrees() -> None:
    notes = {"torch": {"n_steps": [9] * 10}, "jax": {"n_steps": [9] * 3 + [11] + [9] * 6}}
    made = results({"float32": one(1e-3), "float64": one(1e-14)}, notes)
    found = agreement.compare(made)
    assert agreement.verdict(made, found) == []
    excused = found[-1]
    assert excused.over == (3,) and "digit 3: 9 and 11 steps" in excused.excuse and "1e-14" in excused.excuse


@pytest.mark.parametrize(
    "differences",
    [
        {"float32": one(1e-3)},
        {"float32": one(1e-3), "float64": one(1e-8)},
        {"float32": np.full(10, 1e-3), "float64": one(1e-14)},
    ],
    ids=["without float64", "float64 differs too", "all digits"],
)
def test_what_is_not_rounding_breaks_the_promise(differences: dict[str, np.ndarray]) -> None:
    made = results(differences)
    wrong = agreement.verdict(made, agreement.compare(made))
    assert wrong and "promised 1e-05" in wrong[-1]


def test_a_method_that_breaks_on_one_framework_is_named() -> None:
    made = results({"float32": one(0)})
    made.failed["float32", "jax", "saliency"] = "ValueError: no\ntraceback"
    assert agreement.verdict(made, agreement.compare(made)) == ["saliency on jax in float32: ValueError: no"]


def test_other_classes_are_named() -> None:
    made = results({"float32": one(0)})
    made.logits["float32", "jax"] = np.eye(10)[::-1]
    assert "classes" in agreement.verdict(made, agreement.compare(made))[0]


def test_the_page_has_every_class_and_mistakes_last() -> None:
    labels = np.tile(np.arange(10), 30)
    predicted = labels.copy()
    predicted[[7, 19, 33, 44, 58, 71]] += 1
    rows = page(labels, predicted % 10, 20)
    assert len(set(rows)) == 20 and set(labels[rows[:16]]) == set(range(10))
    assert (predicted[rows] != labels[rows]).tolist() == [False] * 16 + [True] * 4
