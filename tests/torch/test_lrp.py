"""Rules of LRP by position and by layer on PyTorch modules."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.lrp_rules import Placed


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Linear(4, 4, bias=False)
        self.b = nn.Sequential(nn.ReLU(), nn.Linear(4, 4, bias=False))
        self.c = nn.Linear(4, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.b(2 * self.a(x)) + x
        found: Tensor = self.c(y) + self.c(x)
        return found


class TestPlaced(Placed):
    framework = "torch"

    def model(self) -> nn.Module:
        return Net().double().eval()

    def weights(self) -> tuple[np.ndarray, ...]:
        net = self.model()
        return tuple(layer.weight.detach().numpy().T for layer in (net.a, net.b[1], net.c))

    def tensors(self, array: Any) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array))

    def relu(self, x: Tensor) -> Tensor:
        return torch.relu(x)
