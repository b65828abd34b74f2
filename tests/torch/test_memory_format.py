"""Convolutions get copies of their weights that are channels last; nobody sees anything of it but the clock."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import whence
from whence.backends.torch import memory_format
from whence.backends.torch.memory_format import ChannelsLast, Copies, channels_last, gains_by_copies


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests of this process compile."""
    monkeypatch.setattr(memory_format, "compiles", lambda: False)


def net() -> nn.Sequential:
    """Large enough for copies to be worth it."""
    up, back = nn.Conv2d(3, 160, 3, padding=1), nn.ConvTranspose2d(160, 192, 3, padding=1)
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(192, 2)
    return nn.Sequential(up, nn.ReLU(), back, nn.ReLU(), *head).eval()


def gradient(model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    x = x.clone(memory_format=torch.channels_last).requires_grad_()
    return torch.autograd.grad(model(x)[:, 0].sum(), x)[0]


def test_a_copy_has_the_values_in_the_other_format() -> None:
    for shape in ((4, 6, 3, 3), (4, 1, 3, 5), (4, 6, 1, 1)):
        weight = torch.randn(shape)
        assert torch.equal(channels_last(weight), weight)
        assert channels_last(weight).is_contiguous(memory_format=torch.channels_last)


def test_copies_change_no_gradient_and_no_parameter() -> None:
    model, x, copies = net().requires_grad_(False), torch.randn(2, 3, 5, 5), Copies()
    wanted = gradient(model, x)
    with ChannelsLast(copies):
        found = gradient(model, x)
    assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-7)
    assert len(copies) == 2
    assert all(model[i].weight.is_contiguous() for i in (0, 2)), "the user's are as they were"


def test_a_weight_that_was_written_on_is_copied_again() -> None:
    model, x, copies = net().requires_grad_(False), torch.randn(2, 3, 5, 5), Copies()
    with ChannelsLast(copies):
        gradient(model, x)
        model[0].weight.mul_(-2)
        found = gradient(model, x)
    assert torch.allclose(found, gradient(model, x), rtol=1e-5, atol=1e-7)


def test_an_explanation_makes_copies_from_its_fourth_pass_on(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, made = net(), torch.randn(1, 3, 5, 5), []
    copied = memory_format.channels_last
    monkeypatch.setattr(memory_format, "channels_last", lambda weight: made.append(weight) or copied(weight))
    found = whence.IntegratedGradients(n_steps=8).explain(model, x, 0, batch_size=1)
    assert len(made) == 2, "once for each weight"
    whence.Saliency().explain(model, x, 0)
    assert len(made) == 2, "not for a single pass"
    monkeypatch.setattr(memory_format, "WORTHWHILE", 10**9)
    wanted = whence.IntegratedGradients(n_steps=8).explain(model, x, 0, batch_size=1)
    assert torch.allclose(found.attributions, wanted.attributions, rtol=1e-5, atol=1e-8)
    assert len(made) == 2 and all(p.requires_grad for p in model.parameters())


def test_where_copies_are_not_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def gains(model: nn.Module) -> bool:
        return gains_by_copies(list(model.modules()))

    assert gains(net().requires_grad_(False))
    assert not gains(net()), "parameters in training"
    assert not gains(net().requires_grad_(False).to(memory_format=torch.channels_last))
    assert not gains(nn.Sequential(nn.Conv2d(3, 8, 3)).requires_grad_(False)), "too small"
    assert not gains(torch.jit.script(net().requires_grad_(False)))
    assert not gains(nn.Sequential(torch.compile(net().requires_grad_(False))))
    monkeypatch.setattr(memory_format, "compiles", lambda: True)
    assert not gains(net().requires_grad_(False))
