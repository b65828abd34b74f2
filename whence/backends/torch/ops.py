"""Tensor operations on torch tensors; eager, since compiling gains little here and costs seconds per shape."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from whence.core.ops import Axis, Ops, Pullback, Tensor, Watch

PASSES_FROM = 2**13
"""Elements from which a sum over the first axis is a pass over each of its parts: half the time of a product and a sum,
a fifth of it where images are channels last."""


class TorchOps(Ops):
    """Operations of PyTorch."""

    name = "torch"

    # -- convert -----------------------------------------------------------------------------------------
    def is_tensor(self, x: Any) -> bool:
        return isinstance(x, torch.Tensor)

    def asarray(self, a: Any, *, like: Tensor | None = None, dtype: str | None = None) -> Tensor:
        if isinstance(a, np.ndarray) and (not a.flags.writeable or any(stride < 0 for stride in a.strides)):
            a = a.copy()
        x = torch.as_tensor(a)
        if dtype is None and like is not None and like.is_floating_point() and x.is_floating_point():
            wanted = like.dtype
        else:
            wanted = x.dtype if dtype is None else getattr(torch, dtype)
        device = x.device if like is None else like.device
        return x if x.dtype == wanted and x.device == device else x.to(device=device, dtype=wanted)

    def to_numpy(self, x: Tensor) -> np.ndarray:
        x = x.detach().cpu()
        return np.asarray((x.float() if x.dtype == torch.bfloat16 else x).numpy())

    def shape(self, x: Tensor) -> tuple[int, ...]:
        return tuple(x.shape)

    def dtype(self, x: Tensor) -> str:
        return str(x.dtype).removeprefix("torch.")

    def device(self, x: Tensor) -> str:
        return str(x.device)

    def astype(self, x: Tensor, dtype: str) -> Tensor:
        wanted = getattr(torch, dtype)
        return x if x.dtype == wanted else x.to(wanted)

    def stop_gradient(self, x: Tensor) -> Tensor:
        return x.detach()

    # -- create and select -------------------------------------------------------------------------------
    def zeros_like(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)

    def ones_like(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)

    def full_like(self, x: Tensor, fill_value: float) -> Tensor:
        return torch.full_like(x, fill_value)

    def concat(self, xs: Sequence[Tensor], *, axis: int = 0) -> Tensor:
        return torch.cat(list(xs), dim=axis)

    def stack(self, xs: Sequence[Tensor], *, axis: int = 0) -> Tensor:
        return torch.stack(list(xs), dim=axis)

    def where(self, condition: Tensor, x1: Tensor | float, x2: Tensor | float) -> Tensor:
        return torch.where(condition, x1, x2)

    def where_zero(self, x: Tensor, instead: Callable[[], Tensor | float], otherwise: Tensor) -> Tensor:
        # a device of its own would have to be waited for
        nowhere = x.device.type == "cpu" and x.numel() > 0 and bool(torch.abs(x).amin() > 0)
        return otherwise if nowhere else super().where_zero(x, instead, otherwise)

    def take(self, x: Tensor, indices: Tensor, *, axis: int = 0) -> Tensor:
        return torch.index_select(x, axis, indices)

    def take_along_axis(self, x: Tensor, indices: Tensor, *, axis: int) -> Tensor:
        return torch.take_along_dim(x, indices, dim=axis)

    def broadcast_to(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        return torch.broadcast_to(x, shape)

    def pad(self, x: Tensor, widths: Sequence[tuple[int, int]], *, value: float = 0.0) -> Tensor:
        return torch.nn.functional.pad(x, [n for pair in reversed(widths) for n in pair], value=value)

    # -- elementwise -------------------------------------------------------------------------------------
    def abs(self, x: Tensor) -> Tensor:
        return torch.abs(x)

    def sign(self, x: Tensor) -> Tensor:
        return torch.sign(x)

    def exp(self, x: Tensor) -> Tensor:
        return torch.exp(x)

    def expm1(self, x: Tensor) -> Tensor:
        return torch.expm1(x)

    def log(self, x: Tensor) -> Tensor:
        return torch.log(x)

    def sqrt(self, x: Tensor) -> Tensor:
        return torch.sqrt(x)

    def tanh(self, x: Tensor) -> Tensor:
        return torch.tanh(x)

    def isfinite(self, x: Tensor) -> Tensor:
        return torch.isfinite(x)

    def clip(self, x: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
        return torch.clamp(x, min, max)

    def maximum(self, x1: Tensor, x2: Tensor) -> Tensor:
        return torch.maximum(x1, x2)

    def minimum(self, x1: Tensor, x2: Tensor) -> Tensor:
        return torch.minimum(x1, x2)

    # -- reduce ------------------------------------------------------------------------------------------
    def sum(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return torch.sum(x, dim=_axes(x, axis), keepdim=keepdims)

    def mean(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return torch.mean(x, dim=_axes(x, axis), keepdim=keepdims)

    def max(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return torch.amax(x, dim=_axes(x, axis), keepdim=keepdims)

    def min(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return torch.amin(x, dim=_axes(x, axis), keepdim=keepdims)

    def any(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return torch.any(x, dim=_axes(x, axis), keepdim=keepdims)

    def all(self, x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
        return torch.all(x, dim=_axes(x, axis), keepdim=keepdims)

    def argmax(self, x: Tensor, *, axis: int, keepdims: bool = False) -> Tensor:
        return torch.argmax(x, dim=axis, keepdim=keepdims)

    def argsort(self, x: Tensor, *, axis: int = -1, descending: bool = False) -> Tensor:
        return torch.argsort(x, dim=axis, descending=descending, stable=True)

    def cumulative_sum(self, x: Tensor, *, axis: int) -> Tensor:
        return torch.cumsum(x, dim=axis)

    def matmul(self, x1: Tensor, x2: Tensor) -> Tensor:
        return torch.matmul(x1, x2)

    def weighted_sum(self, weights: Tensor, x: Tensor) -> Tensor:
        if x[0].numel() < PASSES_FROM:
            return super().weighted_sum(weights, x)
        total = weights[0] * x[0]
        for weight, part in zip(weights[1:], x[1:], strict=True):
            total = torch.addcmul(total, part, weight)
        return total

    # -- differentiate -----------------------------------------------------------------------------------
    def vjp(self, fn: Callable[..., Tensor], *xs: Tensor) -> tuple[Tensor, Pullback]:
        with torch.inference_mode(False), torch.enable_grad():
            leaves = [_leaf(x) for x in xs]
            y = fn(*leaves)

        def pullback(cotangent: Tensor) -> tuple[Tensor, ...]:
            if not y.requires_grad:
                return tuple(torch.zeros_like(x) for x in leaves)
            found = torch.autograd.grad(y, leaves, cotangent, allow_unused=True)
            return tuple(torch.zeros_like(x) if g is None else g for g, x in zip(found, leaves, strict=True))

        return y.detach(), pullback

    def vjp_inside(
        self, fn: Callable[[Watch], Tensor]
    ) -> tuple[Tensor, dict[str, Tensor], Callable[[Tensor], dict[str, Tensor]]]:
        found: dict[str, Tensor] = {}

        def watch(name: str, value: Tensor) -> Tensor:
            # before the first watched value nothing needs a graph
            found[name] = value if found and value.requires_grad else _leaf(value)
            return found[name]

        with torch.inference_mode(False), torch.enable_grad():
            y = fn(watch)

        def pullback(cotangent: Tensor) -> dict[str, Tensor]:
            watched = list(found.values())
            if not y.requires_grad:
                return {name: torch.zeros_like(x) for name, x in found.items()}
            gradients = torch.autograd.grad(y, watched, cotangent, allow_unused=True)
            return {name: torch.zeros_like(x) if g is None else g
                    for (name, x), g in zip(found.items(), gradients, strict=True)}  # fmt: skip

        return y.detach(), {name: x.detach() for name, x in found.items()}, pullback

    def custom_vjp(
        self, fwd: Callable[..., tuple[Tensor, Any]], bwd: Callable[[Any, Tensor], tuple[Tensor, ...]]
    ) -> Callable[..., Tensor]:
        class Custom(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *xs: Tensor) -> Tensor:
                y, ctx.residuals = fwd(*xs)
                return y

            @staticmethod
            def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, ...]:
                return tuple(bwd(ctx.residuals, cotangent))

        def apply(*xs: Tensor) -> Tensor:
            return Custom.apply(*xs)

        return apply

    def evaluate(self, fn: Callable[..., Any], *xs: Any) -> Any:
        with torch.inference_mode():
            return _ordinary(fn(*xs))

    def compile(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        return fn

    # -- the machine -------------------------------------------------------------------------------------
    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
            isinstance(error, RuntimeError) and any(words in str(error) for words in _CPU_OUT_OF_MEMORY)
        )

    def free_memory(self, x: Tensor) -> int | None:
        if x.device.type == "cuda":
            return int(torch.cuda.mem_get_info(x.device)[0])
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if x.device.type == "cpu" else None

    def matmul_precision(self, x: Tensor) -> str:
        if x.device.type != "cuda":
            return "float32"
        tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        return {(True, True): "tf32", (False, True): "tf32 in convolutions", (True, False): "tf32 in matrix products",
                (False, False): "float32"}[tf32]  # fmt: skip


_CPU_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "bad allocation", "out of memory")


def _axes(x: Tensor, axis: Axis) -> Any:
    return tuple(range(x.ndim)) if axis is None else axis


def _leaf(x: Tensor) -> Tensor:
    """A tensor of its own to differentiate towards: the user's keeps its flags."""
    x = x.detach()
    return (x.clone() if x.is_inference() else x).requires_grad_()


def _ordinary(value: Any) -> Any:
    """Inference tensors as ordinary ones, so that the user may differentiate through what comes back."""
    if isinstance(value, torch.Tensor):
        if not value.is_inference():
            return value
        with torch.inference_mode(False):
            return value.clone()
    if isinstance(value, (tuple, list)):
        return type(value)(_ordinary(item) for item in value)
    return value


ops = TorchOps()
