"""Layers that no map can be taken of, and what is said of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import whence
from whence.errors import LayerError, ParameterError, ZeroAttributionWarning

GRADIENT_MAPS = ("grad_cam", "layer_cam", "eigen_grad_cam")


class Net(nn.Module):
    """A convolution on the way, one aside, one used twice, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.aside, self.twice = nn.Conv2d(1, 3, 3), nn.Conv2d(1, 3, 3), nn.ReLU()
        self.head = nn.Linear(3 * 36, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.aside(x)
        return self.head(self.twice(self.twice(self.conv(x))).flatten(1))


@pytest.fixture
def net() -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net().eval()


X = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ("cnov", "nearest names: conv"),
        ("head", "spatial axes"),
        ("aside", "does not depend"),
        ("twice", "twice:0, twice:1"),
        ("twice:2", "twice:0 to twice:1"),
    ],
)
def test_layers_without_a_map(net: Net, layer: str, said: str) -> None:
    with pytest.raises(LayerError, match=said):
        whence.GradCAM(layer=layer).explain(net, X)


@pytest.mark.parametrize("name", GRADIENT_MAPS)
def test_a_saturated_sample_has_a_map_of_zeros_alone_and_among_others(net: Net, name: str) -> None:
    with torch.no_grad():
        low = float(net(X)[:, 0].sort().values.mean())

    def saturated(outputs: torch.Tensor) -> torch.Tensor:
        return (outputs[:, 0] - low).clamp(min=0)

    both = whence.explain(net, X, name, saturated, layer="conv").attributions
    for i in range(2):
        if both[i].any():
            alone = whence.explain(net, X[i : i + 1], name, saturated, layer="conv")
        else:
            with pytest.warns(ZeroAttributionWarning):
                alone = whence.explain(net, X[i : i + 1], name, saturated, layer="conv")
        assert torch.allclose(alone.attributions[0], both[i], atol=1e-7)
    assert both.flatten(1).any(1).tolist().count(False) == 1


def test_no_spatial_layer_at_all() -> None:
    with pytest.raises(LayerError, match="none among"):
        whence.GradCAM().explain(nn.Sequential(nn.Linear(4, 3), nn.Tanh()), torch.rand(2, 4))


def test_the_last_spatial_layer_is_taken_and_named(net: Net) -> None:
    e = whence.GradCAM().explain(net, X, 1)
    assert e.provenance.notes["layers"] == ("twice:1",) and e.attributions.shape == (2, 8, 8)


def test_maps_of_several_layers_need_one_size(net: Net) -> None:
    two = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Conv2d(3, 2, 3, stride=2), nn.Flatten(), nn.Linear(8, 2)).eval()
    with pytest.raises(ParameterError, match="one resolution"):
        whence.GradCAM(layer=("0", "1"), upsample="none").explain(two, X)
    mean = whence.GradCAM(layer=("0", "1")).explain(two, X, 0).attributions
    each = [whence.GradCAM(layer=name).explain(two, X, 0).attributions for name in ("0", "1")]
    assert torch.allclose(mean, (each[0] + each[1]) / 2)


def test_a_head_without_global_average_is_named(net: Net) -> None:
    with pytest.raises(LayerError, match="GradCAM, which needs no such head"):
        whence.CAM(layer="twice:1").explain(net, X, 0)


@pytest.mark.parametrize(
    "params",
    [
        {"size": (0, 3)}, {"size": ()}, {"upsample": "cubic"}, {"normalize": "l2"}, {"layer": ()}, {"tokens": 3},
    ],
)  # fmt: skip
def test_bad_fields(params: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        whence.GradCAM(**params)


def test_a_size_of_another_rank(net: Net) -> None:
    with pytest.raises(ParameterError, match="size"):
        whence.GradCAM(size=(8,)).explain(net, X)
    assert whence.GradCAM(size=(5, 9)).explain(net, X).attributions.shape == (2, 5, 9)
