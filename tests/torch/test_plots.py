"""Pictures of explanations: a figure of its own, on no display."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

import whence
from whence.errors import ParameterError
from whence.plots import HeatMap, plot


@pytest.fixture
def net() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 5)).eval()


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def heat_maps(figure: Figure) -> list:
    return [axes.images[0] for axes in figure.axes if axes.images and axes.images[0].get_cmap().name == "RdBu_r"]


def test_a_row_per_sample_with_symmetric_limits(net: nn.Module, x: torch.Tensor) -> None:
    e = whence.IntegratedGradients().explain(net, x, [1, 2, 3])
    figure = e.plot(percentile=90)
    assert isinstance(figure, Figure)
    pictures = [axes for axes in figure.axes if axes.images]
    maps = heat_maps(figure)
    assert len(pictures) == 9 and len(maps) == 3
    for i, drawn in enumerate(maps):
        summed = e.attributions[i].sum(dim=0).numpy()
        low, high = drawn.get_clim()
        assert low == -high and np.isclose(high, np.percentile(np.abs(summed), 90))
        assert np.allclose(drawn.get_array(), summed, atol=1e-6)
        assert f"target {i + 1}, score" in pictures[3 * i].get_title(loc="left")
    assert pictures[0].images[0].get_array().shape == (8, 8, 3), "colour images are shown in colour"
    assert pictures[2].images[0].get_array().shape == (8, 8), "under the overlay they are grey"


def test_samples_channels_and_colours_are_options(net: nn.Module, x: torch.Tensor) -> None:
    e = whence.Saliency().explain(net, x, 0)
    figure = e.plot(samples=[2], channels="absolute_sum", cmap="PiYG", alpha=0.5)
    drawn = next(a.images[0] for a in figure.axes if a.images and a.images[0].get_cmap().name == "PiYG")
    assert np.allclose(drawn.get_array(), e.attributions[2].abs().sum(dim=0))
    strongest = HeatMap(channels="strongest").maps(np.array([[[[1.0, -3.0, 2.0]]]]))
    assert strongest.shape == (1, 1, 1) and strongest.item() == -3
    for wrong in (
        {"samples": [3]},
        {"samples": []},
        {"channels": "l2"},
        {"percentile": 0},
        {"alpha": 2},
        {"cmap": "x"},
    ):
        with pytest.raises(ParameterError, match=next(iter(wrong))):
            e.plot(**wrong)


def test_a_layer_has_maps_of_its_own_size(net: nn.Module, x: torch.Tensor) -> None:
    figure = whence.IntegratedGradients(layer="0").explain(net, x, 0).plot()
    assert [m.get_array().shape for m in heat_maps(figure)] == [(3, 3)] * 3
    overlay = figure.axes[2].images
    assert overlay[0].get_array().shape == (8, 8) and overlay[1].get_array().shape == (3, 3, 4)
    assert overlay[1].get_extent() == [-0.5, 7.5, 7.5, -0.5], "stretched over the image"


def test_an_unknown_layout_is_asked_for(x: torch.Tensor) -> None:
    def score(images: torch.Tensor) -> torch.Tensor:
        return (images**2).sum(dim=(1, 2))

    e = whence.Saliency().explain(score, x[:, 0])
    with pytest.raises(ParameterError, match="layout="):
        e.plot()
    assert len(heat_maps(e.plot(layout="NHW"))) == 3
    with pytest.raises(ParameterError, match="layout="):
        e.plot(layout="NCHW")
    with pytest.raises(ParameterError, match="one of NCHW"):
        e.plot(layout="CHW")


def test_one_of_several_inputs(x: torch.Tensor) -> None:
    def score(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a.sum(dim=(1, 2, 3)) + (b**2).sum(dim=(1, 2, 3)))[:, None]

    e = whence.Saliency().explain(whence.wrap(score, framework="torch"), (x, x[..., :4]), 0)
    with pytest.raises(ParameterError, match="one of 0, 1 as input="):
        e.plot(layout="NCHW")
    assert heat_maps(e.plot(layout="NCHW", input=1))[0].get_array().shape == (8, 4)


def test_a_loaded_explanation_is_drawn(net: nn.Module, x: torch.Tensor, tmp_path: Path) -> None:
    e = whence.Saliency().explain(net, x, 0)
    loaded = whence.load(e.save(tmp_path / "e.npz"))
    assert np.allclose(heat_maps(plot(loaded))[0].get_array(), heat_maps(plot(e))[0].get_array())


def test_zero_attributions_have_a_scale() -> None:
    assert HeatMap().limit(np.zeros((4, 4))) == 1.0
    single = np.zeros((20, 20))
    single[3, 3] = -2.0
    assert HeatMap(percentile=50).limit(single) == 2.0


def test_matplotlib_is_left_alone(tmp_path: Path) -> None:
    code = """
import sys
import torch, whence, whence.plots
assert "matplotlib" not in sys.modules
e = whence.Saliency().explain(whence.wrap(lambda x: x.sum((1, 2, 3)), framework="torch", layout="NCHW"),
                              torch.rand(1, 1, 4, 4))
e.plot().savefig(sys.argv[1])
assert "matplotlib.pyplot" not in sys.modules
import matplotlib
assert dict.__getitem__(matplotlib.rcParams, "backend") is matplotlib.rcsetup._auto_backend_sentinel
"""
    environment = {k: v for k, v in os.environ.items() if k not in ("MPLBACKEND", "DISPLAY")}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "e.png")], check=True, env=environment)
    assert (tmp_path / "e.png").read_bytes().startswith(b"\x89PNG")
