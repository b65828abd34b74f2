"""Weights in the memory format in which convolutions run fastest, without a change to the user's module.

On a CPU, images that are channels last want weights that are: PyTorch copies others at every call, forward and back,
which takes several percent of a ResNet's gradient. Here each is copied once per explanation that has several passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from whence.backends.torch.compiled import compiles, is_compiled_in_place, uncompiled
from whence.core.ops import Tensor

WORTHWHILE = 2**18
"""Elements of weights to be copied, above which a look at every function call costs less than the copies."""
CONVOLUTIONS = (torch.conv2d, torch.conv_transpose2d)

Copies = dict[int, tuple[Tensor, int, Tensor]]
"""By the parameter's identity: itself, how often it was written on, and its copy."""


def copied_weights(copies: Copies | None) -> AbstractContextManager[Any]:
    """A context in which convolutions use the copies of their weights; without any, they use their own."""
    return nullcontext() if copies is None else ChannelsLast(copies)


class ChannelsLast(TorchFunctionMode):
    """Hands convolutions copies of their parameters that are channels last, kept in ``copies`` for the next call."""

    def __init__(self, copies: Copies) -> None:
        super().__init__()
        self.copies = copies

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in CONVOLUTIONS and len(args) > 1 and is_to_be_copied(args[1]):
            args = (args[0], self._copy(args[1]), *args[2:])
        return func(*args, **(kwargs or {}))

    def _copy(self, weight: Tensor) -> Tensor:
        known = self.copies.get(id(weight))
        if known is None or known[1] != weight._version:
            with torch.inference_mode(False):  # a later pass may need it for a derivative
                known = self.copies[id(weight)] = weight, weight._version, channels_last(weight.detach())
        return known[2]


def channels_last(weight: Tensor) -> Tensor:
    """A contiguous weight in that memory format, four times as fast as ``contiguous`` puts it there."""
    out, into, height, width = weight.shape
    return weight.reshape(out, into, -1).mT.contiguous().view(out, height, width, into).permute(0, 3, 1, 2)


def is_to_be_copied(weight: Any) -> bool:
    """Whether this is a frozen parameter of a convolution on the CPU, in another memory format."""
    return (
        isinstance(weight, torch.nn.Parameter)
        and weight.ndim == 4
        and weight.device.type == "cpu"
        and not weight.requires_grad
        and not weight.is_contiguous(memory_format=torch.channels_last)
    )


def gains_by_copies(modules: Sequence[torch.nn.Module]) -> bool:
    """Whether copies of the weights of a network of these modules are worth it.

    Not where ``torch.compile`` is in use: its code would be compiled again for these copies.
    """
    if compiles() or any(is_compiled_in_place(m) or uncompiled(m) is not m for m in modules):
        return False
    convolutions = (torch.nn.Conv2d, torch.nn.ConvTranspose2d)
    weights = [m.weight for m in modules if isinstance(m, convolutions) and is_to_be_copied(m.weight)]
    elements: int = sum(w.numel() for w in weights)
    return elements >= WORTHWHILE
