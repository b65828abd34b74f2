"""On which side of its threshold each relu falls, and which place of its window each max-pool takes, on PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

RELUS = (F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)


class Thresholds(TorchFunctionMode):
    """Notes the sides of every relu and max-pool that runs under it; makes them fall as in ``held``, where it is given.

    What still changes when the sides are held is due to no threshold.
    """

    def __init__(self, held: Sequence[Tensor] | None = None) -> None:
        super().__init__()
        self.held = held
        self.sides: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in RELUS:
            side = self._side(args[0].detach() > 0)
            if self.held is not None:
                return args[0] * side
        elif func is F.max_pool2d:
            x = args[0]
            place = self._side(F.max_pool2d(x.detach(), *args[1:], **{**kwargs, "return_indices": True})[1])
            if self.held is not None:
                return x.flatten(2).gather(2, place.flatten(2)).reshape(place.shape)
        return func(*args, **kwargs)

    def _side(self, side: Tensor) -> Tensor:
        """The one to take. Where an adaptive rule takes more steps than the run whose sides are held, its own."""
        held = (self.held or ())[len(self.sides) : len(self.sides) + 1]
        self.sides.append(side)
        return held[0] if held and held[0].shape == side.shape else side


def count(sides: Sequence[Tensor]) -> int:
    """How many thresholds."""
    return sum(side.numel() for side in sides)


def passed(a: Sequence[Tensor], b: Sequence[Tensor]) -> int:
    """How many fall otherwise in ``b`` than in ``a``; -1 where an adaptive rule took other steps."""
    if [side.shape for side in a] != [side.shape for side in b]:
        return -1
    return sum(int((one != other).sum()) for one, other in zip(a, b, strict=True))
