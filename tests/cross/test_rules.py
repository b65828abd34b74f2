"""Backward rules, operation by operation: complete on every framework, and the same numbers on all."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest

from tests.agreement import PROMISED, compare
from tests.rounding import Rounding
from tests.rule_nets.table import PAGE, page
from tests.rule_nets.worker import FRAMEWORKS, in_process

WITHOUT_A_RULE = {"mlp, cumulative product"}
"""The networks that go by the path rule, so that it is compared as well."""


@cache
def found(framework: str, dtype: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    return in_process(framework, dtype, Path(mkdtemp()) / "found.npz")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_attributions_add_up(framework: str) -> None:
    arrays, met = found(framework, "float64")
    gaps = {key: float(gap.max()) for key, gap in arrays.items() if "/deep_lift" in key and key.endswith("/gap")}
    assert len(gaps) > 80 and {key: gap for key, gap in gaps.items() if gap > 1e-8} == {}
    fallen = {key.partition("/")[0] for key, counts in met.items() if counts["fallback"]}
    assert fallen == WITHOUT_A_RULE
    ruled = {key.split("/")[0] for key, counts in met.items() if key.endswith("deep_lift") and counts["ruled"]}
    assert ruled | fallen == {key.split("/")[0] for key in met}


rounding = Rounding(lambda keys: in_process("torch", "float64", Path(mkdtemp()) / "rounded.npz", keys)[0])


@pytest.mark.parametrize("dtype", PROMISED)
@pytest.mark.parametrize("framework", FRAMEWORKS[1:])
def test_frameworks_agree(framework: str, dtype: str) -> None:
    torch, other = found("torch", dtype)[0], found(framework, dtype)[0]
    assert torch.keys() == other.keys()
    compared = {key: torch[key] for key in torch if not key.endswith("/gap")}
    rows = compare(compared, other, dtype, rounding)
    assert len(rows) > 80 and not [row for row in rows if not row.kept]


def test_the_page_of_operations_says_what_is_met() -> None:
    assert PAGE.read_text() == page({framework: found(framework, "float64")[1] for framework in FRAMEWORKS})
