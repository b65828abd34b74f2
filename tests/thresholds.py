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
    """Sees every relu and max-pool of what runs under it.

    Without ``as_in``, their sides are noted. With the sides of another run, those that fell otherwise are counted, or
    with ``hold`` made to fall as they did there: what then still changes is due to no threshold.
    """

    def __init__(self, as_in: Sequence[Tensor] | None = None, *, hold: bool = False) -> None:
        super().__init__()
        self.as_in, self.hold = as_in, hold
        self.sides: list[Tensor] = []
        self.calls = self.seen = self.passed = 0
        self.comparable = True
        """Not where a run makes other calls than the one it is compared with: an adaptive rule took other steps."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in RELUS:
            side = self._side(args[0].detach() > 0)
            if self.hold:
                return args[0] * side
        elif func is F.max_pool2d:
            x = args[0]
            place = self._side(F.max_pool2d(x.detach(), *args[1:], **{**kwargs, "return_indices": True})[1])
            if self.hold:
                return x.flatten(2).gather(2, place.flatten(2)).reshape(place.shape)
        return func(*args, **kwargs)

    def _side(self, side: Tensor) -> Tensor:
        """The side to take."""
        self.calls += 1
        self.seen += side.numel()
        if self.as_in is None:
            self.sides.append(side)
            return side
        before = self.as_in[self.calls - 1] if self.calls <= len(self.as_in) else None
        if before is None or before.shape != side.shape:
            self.comparable = False
            return side
        self.passed += int((before != side).sum())
        return before
