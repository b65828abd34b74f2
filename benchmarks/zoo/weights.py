"""Random weights of PyTorch's modules at which networks give something, and what is to be known of a module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

BATCH, CLASSES, SPREAD = 2, 10, 0.1


@torch.no_grad()
def draw(model: nn.Module, *args: Any, **kwargs: Any) -> None:
    """Biases and scales at random, and statistics of batch normalisation from a batch; then inference."""
    for parameter in model.parameters():
        if parameter.ndim <= 1 or not parameter.any():
            parameter.add_(SPREAD * torch.randn_like(parameter))
    model.eval()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = None
            module.train()
    model(*args, **kwargs)
    model.eval()


def count(model: nn.Module) -> int:
    """The number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def is_narrow(model: nn.Module, *args: Any, **kwargs: Any) -> bool:
    """Whether something on the way through a model in float64 is in another precision."""
    with _Narrow() as seen:
        model(*args, **kwargs)
    return seen.found


class _Narrow(TorchFunctionMode):
    found = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        self.found |= isinstance(output, Tensor) and output.requires_grad and output.dtype != torch.float64
        return output
