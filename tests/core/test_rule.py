"""Rule sets and their coverage, and which values are elementwise functions of which."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from whence.core.pointwise import Pointwise
from whence.core.rule import Coverage, RuleSet, kind_is
from whence.errors import CoverageError


def rule(ops: Any, op: Any, cotangents: Any) -> Any:
    return cotangents


def other(ops: Any, op: Any, cotangents: Any) -> Any:
    return cotangents


def of_kind(kind: str) -> Any:
    return SimpleNamespace(kind=kind)


def test_the_first_matcher_decides_and_what_is_linear_needs_none() -> None:
    rules = RuleSet("r", ((kind_is("relu"), rule), (kind_is("relu", "mul"), other)), fallback=other)
    assert rules.find(of_kind("relu")) is rule and rules.find(of_kind("mul")) is other
    assert rules.find(of_kind("opaque")) is other and rules.find(of_kind("linear")) is None
    again = RuleSet("r", ((kind_is("relu"), rule), (kind_is("relu", "mul"), other)), fallback=other)
    assert rules == again and hash(rules) == hash(again), "compiled code is found again by the rules"


def test_coverage_names_what_had_no_rule() -> None:
    rules = RuleSet("r", ((kind_is("relu"), rule),), fallback=other)
    coverage = Coverage()
    for name, kind in (("relu", "relu"), ("sort", "opaque"), ("sort", "opaque"), ("add", "linear")):
        coverage.count(rules, name, kind, rules.find(of_kind(kind)))
    assert coverage.summary() == {"ruled": {"relu": 1}, "fallback": {"sort": 2}, "plain": {"add": 1}}
    coverage.require(rules)
    with pytest.raises(CoverageError, match="sort"):
        coverage.require(RuleSet("r", rules.rules, fallback=other, strict=True))


def test_strict_rules_without_a_fallback_refuse_nonlinear_operations() -> None:
    rules, coverage = RuleSet("r", ((kind_is("relu"), rule),), strict=True), Coverage()
    coverage.count(rules, "add", "linear", None)
    coverage.count(rules, "relu", "relu", rule)
    coverage.require(rules)
    coverage.count(rules, "sort", "opaque", None)
    with pytest.raises(CoverageError, match="strict=True"):
        coverage.require(rules)


def test_the_nearest_value_that_all_come_from() -> None:
    known = Pointwise()
    known.add("scaled", "x")
    known.add("shifted", "scaled")
    known.add("squared", "scaled")
    assert known.root(["shifted", "squared"], lambda v: True) == "scaled"
    assert known.root(["shifted", "squared"], lambda v: v == "x") == "x"
    assert known.root(["shifted", "x"], lambda v: True) == "x"
    assert known.root(["shifted", "y"], lambda v: True) is None
    assert known.root(["shifted"], lambda v: True) == "shifted"
