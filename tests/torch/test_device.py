"""PyTorch on an accelerator."""

from __future__ import annotations

import pytest
import torch

import whence
from tests.device import check_stays
from tests.zoo import torch_models
from tests.zoo.inputs import inputs

pytestmark = [
    pytest.mark.device,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device"),
]


@pytest.mark.parametrize("method", whence.methods())
def test_everything_stays_on_the_device(method: str) -> None:
    x = torch.from_numpy(inputs("digits_cnn", 3))
    model = torch_models.build("digits_cnn")
    check_stays(method, lambda x: model.to(x.device), x, x.cuda(), lambda value: value.is_cuda)


def test_numpy_goes_to_the_models_device() -> None:
    found = whence.Saliency().explain(torch_models.build("digits_cnn").cuda(), inputs("digits_cnn", 3), 2)
    assert "cuda" in found.provenance.device
