"""Methods on JAX against float64 re-implementations from their papers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.method_oracles import CASES, PROMISED, check

jax = pytest.importorskip("jax")


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize("dtype", PROMISED)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("case", CASES)
def test_method_is_what_its_paper_says(case: str, activation: str, dtype: str) -> None:
    check("jax", case, dtype, activation)
