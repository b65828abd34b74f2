"""The PyTorch backend and every method on it against the shipped kit."""

from __future__ import annotations

import pytest
import torch

from tests.conformance import METHODS, all_checks, layer_checks
from whence.backends.torch import backend
from whence.testing import Check, backend_checks, method_checks


@pytest.mark.parametrize("check", [*backend_checks(backend)], ids=str)
def test_backend(check: Check) -> None:
    check()


@pytest.mark.parametrize("check", all_checks("torch", METHODS), ids=str)
def test_methods(check: Check) -> None:
    check()


@pytest.mark.parametrize("check", layer_checks("torch"), ids=str)
def test_methods_at_layers(check: Check) -> None:
    check()


@pytest.mark.device
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device for torch")
@pytest.mark.parametrize("check", [*backend_checks(backend, place=lambda a: torch.tensor(a).cuda())], ids=str)
def test_backend_on_the_device(check: Check) -> None:
    check()


def test_evaluate_keeps_no_graph() -> None:
    w = torch.ones(3, requires_grad=True)
    found = backend.ops.evaluate(lambda x: (x * w, [x @ w]), torch.ones(2, 3))
    assert not found[0].requires_grad and found[0].grad_fn is None and not found[1][0].requires_grad
    assert not found[0].is_inference(), "the user may go on with it"


def test_parameters_get_no_gradient() -> None:
    w = torch.ones(3, requires_grad=True)
    _, pullback = backend.ops.vjp(lambda x: x * w, torch.ones(2, 3))
    pullback(torch.ones(2, 3))
    assert w.grad is None


@pytest.mark.parametrize("number", range(len(METHODS)))
def test_names_are_unique(number: int) -> None:
    names = [check.name for check in method_checks(METHODS[number], ["torch"])]
    assert len(names) == len(set(names))
