"""Rules of LRP by position and by layer on PyTorch modules."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

import whence
from tests.lrp_padding import Padded
from tests.lrp_rules import Placed
from whence.core.rule import inside
from whence.methods.lrp_rules import Epsilon


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

    unrolls = True

    def loop(self, turn: Any, x: Tensor) -> Tensor:
        for _ in range(3):
            x = turn(x)
        return x

    def cast(self, x: Tensor, dtype: str) -> Tensor:
        return x.to(getattr(torch, dtype))

    def relu(self, x: Tensor) -> Tensor:
        return torch.relu(x)


def test_relevance_before_the_first_layer_is_what_it_is() -> None:
    torch.manual_seed(1)
    dense = [nn.Linear(4, 5, bias=False), nn.Linear(5, 2, bias=False)]
    net = nn.Sequential(nn.Flatten(), dense[0], nn.ReLU(), dense[1]).double().eval()
    x = torch.randn(3, 2, 2, dtype=torch.float64)
    found = whence.LRP(composite="epsilon_plus_flat", epsilon=1e-12).explain(net, x, 0).conservation()
    assert list(found.layers) == ["0", "1", "2", "3"]
    for relevance in (*found.layers.values(), found.inputs):
        np.testing.assert_allclose(relevance, found.score, rtol=1e-8)


def test_where_biases_absorb_relevance() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2, bias=False)).double().eval()
    x = torch.randn(3, 4, dtype=torch.float64)
    lost = whence.LRP(epsilon=1e-12).explain(net, x, 0).conservation()
    np.testing.assert_allclose(lost.layers["0"], lost.score, rtol=1e-8)
    hidden, bias = net[0](x), net[0].bias
    of_biases = ((hidden > 0) * bias * net[2].weight[0]).sum(1).detach().numpy()
    np.testing.assert_allclose(lost.score - lost.inputs, of_biases, rtol=1e-8)


def test_a_rule_for_one_layer_leaves_the_relus_of_others() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 5, bias=False), nn.ReLU(), nn.Linear(5, 2, bias=False)).double().eval()
    x = torch.randn(3, 4, dtype=torch.float64)
    plain = whence.LRP(epsilon=1e-12).explain(net, x, 0).attributions
    named = whence.LRP(epsilon=1e-12, overrides=((inside("2"), Epsilon(1e-12)),)).explain(net, x, 0).attributions
    np.testing.assert_allclose(named, plain, rtol=1e-10)


class TestPadded(Padded):
    framework = "torch"

    def tensors(self, array: Any) -> Tensor:
        return torch.tensor(np.asarray(array, np.float64))

    def pad(self, x: Tensor, widths: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
        return functional.pad(x, tuple(chain(*reversed(widths))), value=value)

    def reflect(self, x: Tensor) -> Tensor:
        return functional.pad(x.permute(0, 3, 1, 2), (1, 1, 1, 1), "reflect").permute(0, 2, 3, 1)

    def conv(self, x: Tensor, kernel: Tensor, padding: int) -> Tensor:
        found = functional.conv2d(x.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), None, 2, padding)
        return found.permute(0, 2, 3, 1)

    def transpose(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        return x.permute(*axes)

    def relu_mean(self, x: Tensor) -> Tensor:
        return torch.relu(x).mean((1, 2))

    def images(self, x: Any) -> Any:
        return np.moveaxis(x, -1, 1)

    def layers(self, kernel: Any, head: Any) -> nn.Module:
        conv, dense = nn.Conv2d(3, 4, 3, 2, bias=False), nn.Linear(4, 2, bias=False)
        conv.weight = nn.Parameter(self.tensors(kernel).permute(3, 2, 0, 1))
        dense.weight = nn.Parameter(self.tensors(head).T)
        parts = {"pad": nn.ZeroPad2d(1), "conv": conv, "relu": nn.ReLU(), "pool": nn.AdaptiveAvgPool2d(1),
                 "flat": nn.Flatten(), "head": dense}  # fmt: skip
        return nn.Sequential(OrderedDict(parts)).eval()
