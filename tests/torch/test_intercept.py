"""Backward rules on torch operations, proven with guided ReLU in every spelling of relu."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as functional
from torch import nn

import whence
from whence.errors import CoverageError
from whence.methods.rules import GUIDED_RELU


class Net(nn.Module):
    """conv, relu, conv, relu, linear; ``act`` is how relu is written."""

    def __init__(self, act: Callable[[torch.Tensor], torch.Tensor] | None = None) -> None:
        super().__init__()
        self.conv1, self.conv2, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8 * 16, 10)
        self.act = act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.act(self.conv2(self.act(self.conv1(x)))).flatten(1))


SPELLINGS = {
    "functional": functional.relu,
    "torch": torch.relu,
    "method": lambda x: x.relu(),
    "in place": lambda x: x.relu_(),
    "reused module": nn.ReLU(),
    "reused module in place": nn.ReLU(inplace=True),
    "clamp": lambda x: x.clamp(min=0),
    "maximum": lambda x: torch.maximum(x, torch.zeros(())),
}


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return Net().state_dict()


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def by_hand(net: Net, x: torch.Tensor, target: int) -> torch.Tensor:
    """Guided backprop written out: gradients through the two convolutions with both masks at each relu."""
    h1 = net.conv1(x)
    h2 = net.conv2(h1.clamp(min=0))
    g = net.head.weight[target].reshape(1, 8, 4, 4).expand(len(x), -1, -1, -1)
    g = functional.conv_transpose2d(g.clamp(min=0) * (h2 > 0), net.conv2.weight)
    return functional.conv_transpose2d(g.clamp(min=0) * (h1 > 0), net.conv1.weight)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_guided_relu_in_every_spelling(spelling: str, weights: dict[str, torch.Tensor], x: torch.Tensor) -> None:
    net = Net(SPELLINGS[spelling]).eval()
    net.load_state_dict(weights)
    found = whence.Saliency().explain(whence.wrap(net).intercept(GUIDED_RELU), x, 3)
    with torch.no_grad():
        wanted = by_hand(net, x, 3)
    assert ((found.attributions - wanted).abs().max() / wanted.abs().max()).item() < 1e-5
    assert sum(found.provenance.coverage["ruled"].values()) == 2
    assert found.provenance.coverage["plain"]["torch.nn.functional.conv2d"] == 2


def test_at_a_layer_and_through_a_compiled_model(weights: dict[str, torch.Tensor], x: torch.Tensor) -> None:
    net = Net(functional.relu).eval()
    net.load_state_dict(weights)
    at_layer = whence.Saliency(layer="conv1").explain(whence.wrap(net).intercept(GUIDED_RELU), x, 3)
    assert at_layer.attributions.shape == (4, 8, 6, 6) and (at_layer.attributions >= 0).all()
    compiled = whence.wrap(torch.compile(net, backend="eager")).intercept(GUIDED_RELU)
    plain = whence.wrap(net).intercept(GUIDED_RELU)
    assert torch.equal(*(whence.Saliency().explain(m, x, 3).attributions for m in (compiled, plain)))


def test_an_operation_that_escapes_is_an_error(x: torch.Tensor) -> None:
    net = Net(functional.relu).eval()
    traced = torch.jit.trace(net, x)
    with pytest.raises(CoverageError, match="ReluBackward"):
        whence.Saliency().explain(whence.wrap(traced).intercept(GUIDED_RELU), x, 3)


@pytest.mark.parametrize("clamped", [
    lambda x: functional.normalize(x, dim=-1), lambda x: x.clamp(min=0.1), lambda x: functional.threshold(x, 0.1, 0.0)
])  # fmt: skip
def test_a_clamp_elsewhere_than_at_zero_is_no_relu(clamped: Callable[[torch.Tensor], torch.Tensor]) -> None:
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    net = whence.wrap(lambda x: torch.relu(clamped(x))[:, :3], framework="torch")
    found = whence.GuidedBackprop().explain(net, x, 1)
    assert found.provenance.coverage["ruled"] == {"torch.relu": 1}
    scripted = torch.jit.trace(lambda x: torch.clamp_min(x, 0.0), x)
    with pytest.raises(CoverageError, match="ClampMin"):
        whence.GuidedBackprop().explain(whence.wrap(lambda x: torch.relu(scripted(x)), framework="torch"), x, 1)


def test_no_operation_with_a_rule_is_an_error(x: torch.Tensor) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 3), nn.Tanh())
    with pytest.raises(CoverageError, match="none applies"):
        whence.Saliency().explain(whence.wrap(net).intercept(GUIDED_RELU), x, 1)


def test_the_model_is_left_as_it_was(weights: dict[str, torch.Tensor], x: torch.Tensor) -> None:
    net = Net(functional.relu).eval()
    plain = whence.Saliency().explain(net, x, 3).attributions
    whence.Saliency().explain(whence.wrap(net).intercept(GUIDED_RELU), x, 3)
    assert torch.equal(whence.Saliency().explain(net, x, 3).attributions, plain)
    assert all(p.requires_grad and p.grad is None for p in net.parameters()) and not net._forward_hooks
