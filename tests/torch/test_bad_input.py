"""What users get wrong with PyTorch models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

import whence
from tests.bad_input import CLASSES, FEATURES, BadInput, X


class Net(nn.Module):
    def __init__(self, on_call: Callable[[], None], dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hidden, self.act, self.drop = nn.Linear(FEATURES, 8), nn.ReLU(), nn.Dropout(dropout)
        self.head = nn.Linear(8, CLASSES)
        self.on_call = on_call

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.drop(self.act(self.hidden(x)))
        self.on_call()
        return self.head(hidden)


class TestBadInput(BadInput):
    framework = "torch"
    layer = "hidden"

    def net(self, on_call: Callable[[], None] = lambda: None) -> Net:
        net = Net(on_call).eval()
        net.head.bias.requires_grad_(False)
        return net

    def in_training(self) -> Net:
        net = Net(lambda: None, dropout=0.5).train()
        net.hidden.eval()
        return net

    def state(self, model: Net) -> Any:
        return (
            {name: p.detach().numpy().tobytes() for name, p in model.named_parameters()},
            {name: (p.requires_grad, p.grad) for name, p in model.named_parameters()},
            {name: (m.training, len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks),
                    sorted(vars(m))) for name, m in model.named_modules()},
            torch.is_grad_enabled(), torch.is_inference_mode_enabled(),
            len(torch.overrides._get_current_function_mode_stack()),
        )  # fmt: skip


def test_the_user_s_tensor_keeps_its_flags() -> None:
    net = TestBadInput().net()
    for x in (torch.tensor(X), torch.tensor(X, requires_grad=True), torch.tensor(X, requires_grad=True) * 1):
        flags = x.requires_grad, x.is_leaf, x.grad_fn
        found = whence.IntegratedGradients(n_steps=2).explain(net, x, 0)
        assert (x.requires_grad, x.is_leaf, x.grad_fn) == flags and x._version == 0
        assert not found.attributions.requires_grad and not found.score.requires_grad


def test_a_model_that_writes_on_its_input() -> None:
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(FEATURES, CLASSES))
    plain = nn.Sequential(nn.ReLU(), net[1])
    for method in (whence.Saliency(), whence.IntegratedGradients(n_steps=4), whence.SmoothGrad(n_samples=2)):
        x = torch.tensor(X)
        found = method.explain(net, x, 0)
        assert torch.equal(x, torch.tensor(X)), "the user's tensor stays as it is"
        assert torch.allclose(found.attributions, method.explain(plain, x, 0).attributions, atol=1e-6)
        assert torch.allclose(found.score, plain(x)[:, 0])


def test_half_types_stay_half() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        net = TestBadInput().net().to(dtype)
        e = whence.IntegratedGradients(n_steps=4).explain(net, torch.tensor(X, dtype=dtype), 0)
        assert e.attributions.dtype == e.score.dtype == e.delta.dtype == dtype
        reference = whence.IntegratedGradients(n_steps=4).explain(TestBadInput().net(), torch.tensor(X), 0)
        assert torch.allclose(e.attributions.float(), reference.attributions, atol=0.05)


def test_the_global_generator_is_not_read() -> None:
    net = TestBadInput().net()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    whence.SmoothGrad(n_samples=3).explain(net, torch.tensor(np.array(X)), 0)
    assert torch.equal(torch.get_rng_state(), before)
