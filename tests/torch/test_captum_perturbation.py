"""Perturbation methods and exact Shapley values beside Captum and SHAP, in float64 on the same PyTorch models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import whence
from tests.zoo.inputs import inputs
from tests.zoo.torch_models import build
from whence.baselines import DataSet

captum = pytest.importorskip("captum.attr")
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def images() -> tuple[nn.Module, Tensor, Tensor]:
    """A network, two images and a baseline."""
    x = torch.from_numpy(inputs("digits_cnn", 2, "float64"))
    return build("digits_cnn", "float64"), x, 0.3 * x.flip(0)


@pytest.fixture(scope="module")
def table() -> tuple[nn.Module, Tensor, Tensor]:
    """A network, three rows of six columns and a baseline."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 9), nn.Tanh(), nn.Linear(9, 3))
    return model.double().eval(), torch.randn(3, 6).double(), torch.randn(1, 6).double()


def same(ours: Any, theirs: Any) -> None:
    """Within the tolerance of the largest value, which is not zero."""
    ours, theirs = (np.asarray(value.detach() if isinstance(value, Tensor) else value) for value in (ours, theirs))
    scale = np.abs(theirs).max()
    assert ours.shape == theirs.shape and scale > 0
    assert np.abs(ours - theirs).max() <= TOLERANCE * scale


def patches(x: Tensor) -> Tensor:
    """Numbers of 2 by 2 patches with gaps between them, ``[1, 1, H, W]``."""
    side = torch.arange(x.shape[-1]) // 2
    return (7 * (side[:, None] * len(side) + side))[None, None]


@pytest.mark.parametrize("grouped", [False, True], ids=["numbers", "patches"])
def test_feature_ablation(images: tuple[nn.Module, Tensor, Tensor], grouped: bool) -> None:
    model, x, baseline = images
    mask = patches(x) if grouped else None
    ours = whence.FeatureAblation(feature_mask=mask, baseline=baseline).explain(model, x, [1, 0])
    same(
        ours.attributions, captum.FeatureAblation(model).attribute(x, baseline, torch.tensor([1, 0]), feature_mask=mask)
    )


@pytest.mark.parametrize(("window", "stride"), [((3, 3), (2, 1)), ((2, 4), (2, 3)), ((3, 3), (3, 3))])
def test_occlusion(images: tuple[nn.Module, Tensor, Tensor], window: tuple[int, ...], stride: tuple[int, ...]) -> None:
    """The last windows, where they do not fit, are cut at the border in both."""
    model, x, baseline = images
    ours = whence.Occlusion(window=window, stride=stride, baseline=baseline).explain(model, x, 2)
    channels = x.shape[1]
    theirs = captum.Occlusion(model).attribute(
        x, (channels, *window), (channels, *stride), baseline, 2, perturbations_per_eval=8
    )
    same(ours.attributions, theirs)


def test_shapley_sampling_along_the_same_orders(
    table: tuple[nn.Module, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x, baseline = table
    method = whence.ShapleySampling(n_samples=8, seed=5, baseline=baseline)
    orders = [tuple(order) for order in np.argsort(method._ranks(0, 8, 6), axis=1).tolist()]
    sampling = captum.ShapleyValueSampling(model)
    monkeypatch.setattr(sampling, "permutation_generator", lambda features, n_samples: iter(orders))
    same(method.explain(model, x, 1).attributions, sampling.attribute(x, baseline, 1, n_samples=8))


def test_exact_values(table: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, x, baseline = table
    ours = whence.ExactShapley(baseline=baseline).explain(model, x, 1).attributions
    same(ours, captum.ShapleyValues(model).attribute(x, baseline, 1))
    same(whence.KernelSHAP(baseline=baseline).explain(model, x, 1).attributions, ours)


def test_exact_values_over_a_background(table: tuple[nn.Module, Tensor, Tensor]) -> None:
    shap = pytest.importorskip("shap")
    model, x, _ = table
    rows = np.random.default_rng(2).standard_normal((5, 6))

    def score(values: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(values))[:, 1].numpy()

    explainer = shap.explainers.Exact(score, shap.maskers.Independent(rows))
    for method in (whence.ExactShapley, whence.KernelSHAP):
        ours = method(baseline=DataSet(rows)).explain(model, x, 1)
        same(ours.attributions, explainer(x.numpy(), silent=True).values)
        same(ours.baseline_score, explainer(x.numpy(), silent=True).base_values)


def test_a_background_at_a_layer(table: tuple[nn.Module, Tensor, Tensor]) -> None:
    """The rest of the network is linear: a unit's value is its weight times its distance from the mean activation."""
    model, x, _ = table
    rows = np.random.default_rng(2).standard_normal((5, 6))
    with torch.inference_mode():
        at_x, at_rows = (model[:4](values) for values in (x, torch.from_numpy(rows)))
        wanted = (at_x - at_rows.mean(0)) * model[4].weight[1]
    for method in (whence.FeatureAblation, whence.KernelSHAP):
        same(method(layer="3", baseline=DataSet(rows)).explain(model, x, 1).attributions, wanted)
