"""Derivatives in closed form against those that autograd records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from whence.backends.torch.closed_form import pullback
from whence.backends.torch.recorded import Call

torch.manual_seed(0)
A, B, ROW = (torch.randn(*shape, dtype=torch.float64) for shape in ((2, 3, 4), (2, 4, 5), (4,)))


@pytest.mark.parametrize(
    ("function", "tensors", "kwargs"),
    [
        (torch.mul, (A, A.flip(0)), {}), (Tensor.__mul__, (A, ROW), {}), (torch.mul, (ROW, A), {}),
        (torch.matmul, (A, B), {}), (Tensor.__matmul__, (A[0], B), {}), (torch.matmul, (A[None], B), {}),
        (torch.bmm, (A, B), {}), (torch.mm, (A[0], B[0]), {}),
        (F.gelu, (A,), {}), (F.gelu, (A,), {"approximate": "tanh"}),
    ],
)  # fmt: skip
def test_the_same_as_autograd(function: Callable[..., Tensor], tensors: tuple[Tensor, ...], kwargs: Any) -> None:
    found = pullback(Call(function, tensors, kwargs, tensors))
    assert found is not None
    leaves = [x.clone().requires_grad_() for x in tensors]
    y = function(*leaves, **kwargs)
    g = torch.randn_like(y)
    torch.testing.assert_close(found(*tensors, g), torch.autograd.grad(y, leaves, g))


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (torch.matmul, (), {"other": B, "input": A}), (Tensor.__rmatmul__, (B, A), {}), (torch.matmul, (A, ROW), {}),
        (torch.mul, (A, 2.0), {}), (F.gelu, (), {"input": A}), (torch.div, (A, A), {}), (torch.mul, (A * 1j, A), {}),
    ],
)  # fmt: skip
def test_what_has_to_be_recorded(function: Callable[..., Tensor], args: Any, kwargs: Any) -> None:
    tensors = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
    assert pullback(Call(function, args, kwargs, tensors)) is None
