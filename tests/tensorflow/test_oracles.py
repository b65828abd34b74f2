"""Methods on TensorFlow against float64 re-implementations from their papers."""

from __future__ import annotations

import pytest

from tests.method_oracles import CASES, PROMISED, check

pytest.importorskip("tensorflow")


@pytest.mark.parametrize("dtype", PROMISED)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("case", CASES)
def test_method_is_what_its_paper_says(case: str, activation: str, dtype: str) -> None:
    check("tensorflow", case, dtype, activation)
