"""Derivatives in closed form, which take no forward pass at the point where they are asked: of products, and gelu."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from whence.backends.torch.kinds import canonical
from whence.backends.torch.recorded import Call

Pullback = Callable[..., tuple[Tensor, ...]]
"""Cotangents of the tensors of a call, from these and the cotangent of what it gives."""


def mul(a: Tensor, b: Tensor, g: Tensor) -> tuple[Tensor, ...]:
    """g b and g a, summed to the shapes of the operands."""
    return (g * b).sum_to_size(a.shape), (g * a).sum_to_size(b.shape)


def matmul(a: Tensor, b: Tensor, g: Tensor) -> tuple[Tensor, ...]:
    """g b^T and a^T g, summed to the shapes of the operands."""
    return (g @ b.mT).sum_to_size(a.shape), (a.mT @ g).sum_to_size(b.shape)


def gelu(x: Tensor, g: Tensor, *, approximate: str = "none") -> tuple[Tensor, ...]:
    """g times the derivative of x times the normal distribution function."""
    return (torch.ops.aten.gelu_backward(g, x, approximate=approximate),)


_PRODUCTS: Mapping[str, tuple[Pullback, int]] = {
    "mul": (mul, 0), "multiply": (mul, 0), "matmul": (matmul, 2), "bmm": (matmul, 2), "mm": (matmul, 2),
}  # fmt: skip
"""With the least number of axes of their operands."""


def pullback(call: Call) -> Pullback | None:
    """The derivative of a call; None where it has to be recorded."""
    name, tensors = canonical(call.function), call.tensors
    if name == "gelu":
        return partial(gelu, **call.kwargs) if len(call.args) == 1 else None
    found, axes = _PRODUCTS.get(name, (None, 0))
    # reflected, the operands are the other way round
    is_plain = len(call.args) == len(tensors) == 2 and not call.kwargs and not call.function.__name__.startswith("__r")
    return found if is_plain and all(x.ndim >= axes and not x.is_complex() for x in tensors) else None
