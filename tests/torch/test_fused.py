"""Sums with products in one function, and choices by constants: rules meet what they consist of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import whence
from whence.errors import CoverageError

torch.manual_seed(0)
W, B = torch.randn(4, 4, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
HEAD = torch.randn(4, 3, dtype=torch.float64)
X = torch.randn(3, 4, dtype=torch.float64)
MASK = torch.tensor([True, False, True, False])
Fn = Callable[[Tensor], Tensor]

SPELLINGS: dict[str, tuple[Fn, Fn]] = {
    "addmm": (lambda x: torch.addmm(B, x, W), lambda x: x @ W + B),
    "addmm, scaled": (lambda x: torch.addmm(B, x, W, beta=0.5, alpha=2), lambda x: x @ W * 2 + B * 0.5),
    "addmm of data": (lambda x: x.addmm(x, W), lambda x: x + x @ W),
    "addmm in place": (lambda x: (x * 1).addmm_(x, W), lambda x: x + x @ W),
    "baddbmm": (
        lambda x: torch.baddbmm(B, x[:, None], W.expand(len(x), -1, -1))[:, 0], lambda x: (x[:, None] @ W + B)[:, 0]
    ),
    "addmv": (
        lambda x: torch.stack([torch.addmv(B, W, row) for row in x]), lambda x: torch.stack([W @ row + B for row in x])
    ),
    "addbmm": (lambda x: torch.addbmm(B, x[None], W[None]), lambda x: (x[None] @ W[None]).sum(0) + B),
    "addcmul": (lambda x: torch.addcmul(x, x, B, value=2), lambda x: x + x * B * 2),
    "addcmul in place": (lambda x: (x @ W).addcmul_(x, B), lambda x: x @ W + x * B),
    "addcdiv": (lambda x: torch.addcdiv(x, x, B.exp(), value=2), lambda x: x + x / B.exp() * 2),
    "lerp": (lambda x: torch.lerp(x, x @ W, 0.3), lambda x: x + (x @ W - x) * 0.3),
    "masked_fill": (lambda x: x.masked_fill(MASK, 0.0), lambda x: x * ~MASK),
    "where, a mask made like the data": (
        lambda x: torch.where(torch.ones_like(x, dtype=torch.bool).cumsum(1) > 2, x @ W, x),
        lambda x: (x @ W) * (torch.arange(4) > 1) + x * (torch.arange(4) <= 1),
    ),
    "where": (lambda x: torch.where(MASK, x @ W, x), lambda x: (x @ W) * MASK + x * ~MASK),
}  # fmt: skip


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.parametrize("method", [whence.DeepLIFT(strict=True), whence.LRP(strict=True)], ids=["deep_lift", "lrp"])
def test_as_what_it_consists_of(method: whence.Method, name: str) -> None:
    found, expected = (method.explain(_net(step), X, 1) for step in SPELLINGS[name])
    torch.testing.assert_close(found.attributions, expected.attributions, rtol=1e-10, atol=1e-12)
    if found.delta is not None:
        assert found.delta.abs().max() < 1e-12


@pytest.mark.parametrize("choice", [
    lambda x: x.sum(1, keepdim=True) > 0, lambda x: (x.sum(1) > 0)[:, None], lambda x: x == x.amax(1, keepdim=True),
    lambda x: torch.nn.functional.one_hot(x.argmax(1), 4).bool(),
])  # fmt: skip
def test_a_choice_by_the_data_has_no_rule(choice: Fn) -> None:
    model = _net(lambda x: torch.where(choice(x), x @ W, x))
    assert whence.DeepLIFT().explain(model, X, 1).provenance.coverage["fallback"].get("torch.where") == 1
    with pytest.raises(CoverageError, match=r"torch\.where"):
        whence.DeepLIFT(strict=True).explain(model, X, 1)
    with pytest.raises(CoverageError, match=r"torch\.where"):
        whence.LRP(strict=True).explain(model, X, 1)


def _net(step: Fn) -> Any:
    return whence.wrap(lambda x: torch.tanh(step(x)) @ HEAD, framework="torch")
