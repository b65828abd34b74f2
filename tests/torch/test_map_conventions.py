"""The table of docs/guide/maps.md: with these fields, the maps of other libraries come out.

Captum runs. The others are written here as their sources compute, from the activation and its gradient alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import whence
from tests.cam_oracles import Array, Layer

LAYER, TARGET = "act2", 2


class Net(nn.Sequential):
    """A layer of 5 by 5 places for images of 15 by 15."""

    def __init__(self) -> None:
        super().__init__()
        head = [nn.Flatten(), nn.Linear(125, 4)]
        parts = {"conv1": nn.Conv2d(3, 6, 3, 2), "act1": nn.ReLU(), "conv2": nn.Conv2d(6, 5, 3), "act2": nn.ReLU()}
        for name, module in {**parts, "flatten": head[0], "head": head[1]}.items():
            self.add_module(name, module)


@pytest.fixture(scope="module")
def net() -> Net:
    """One with a positive part in every map, and with scores of both signs."""
    torch.manual_seed(16)
    net = Net().eval().double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter *= 3
    return net


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    return torch.rand(3, 3, 15, 15, generator=torch.Generator().manual_seed(1)).double()


def inside(net: Net, x: torch.Tensor) -> tuple[Array, Array]:
    """Activation and gradient [B, K, h, w] at the layer."""
    pairs = [Layer(net, LAYER).activation_and_gradient(image.numpy(), TARGET) for image in x]
    return np.stack([a for a, _ in pairs]), np.stack([g for _, g in pairs])


def scaled(maps: Array, epsilon: float = 1e-7) -> Array:
    low = maps - maps.min((1, 2), keepdims=True)
    return low / (epsilon + low.max((1, 2), keepdims=True))


def upsampled(maps: Array, size: int = 15, **how: Any) -> Array:
    return F.interpolate(torch.from_numpy(maps)[:, None], (size, size), **how)[:, 0].numpy()


def pytorch_grad_cam(raw: Array) -> Array:
    """What that library makes of a raw map: scaled, resized as OpenCV does, scaled again."""
    return scaled(upsampled(scaled(np.maximum(raw, 0)), mode="bilinear", align_corners=False))


def positive(g: Array) -> Array:
    return np.maximum(g, 0)


def plus_plus(a: Array, g: Array, epsilon: float) -> Array:
    alpha = np.where(g != 0, g**2 / (2 * g**2 + a.sum((2, 3), keepdims=True) * g**3 + epsilon), 0)
    return ((positive(g) * alpha).sum((2, 3), keepdims=True) * a).sum(1)


def x_grad(a: Array, g: Array, epsilon: float) -> Array:
    return ((g * a / (a.sum((2, 3), keepdims=True) + epsilon)).sum((2, 3), keepdims=True) * a).sum(1)


FROM_GRADIENTS: dict[str, tuple[whence.Method, Callable[[Array, Array], Array]]] = {
    "GradCAM": (whence.GradCAM(layer=LAYER, normalize="min_max"),
                lambda a, g: (g.mean((2, 3), keepdims=True) * a).sum(1)),
    "HiResCAM": (whence.HiResCAM(layer=LAYER, relu=True, normalize="min_max"), lambda a, g: (g * a).sum(1)),
    "LayerCAM": (whence.LayerCAM(layer=LAYER, normalize="min_max"), lambda a, g: (positive(g) * a).sum(1)),
    "GradCAMPlusPlus": (whence.GradCAMPlusPlus(layer=LAYER, epsilon=1e-6, normalize="min_max"),
                        lambda a, g: plus_plus(a, g, 1e-6)),
    "XGradCAM": (whence.XGradCAM(layer=LAYER, epsilon=1e-7, normalize="min_max"), lambda a, g: x_grad(a, g, 1e-7)),
}  # fmt: skip


def found(method: whence.Method, net: Net, x: torch.Tensor, target: Any = TARGET) -> Array:
    return method.explain(net, x, target).attributions.numpy()


def close(ours: Array, theirs: Array, tolerance: float = 1e-12) -> None:
    assert abs(theirs).max() > 0 and abs(ours - theirs).max() <= tolerance * abs(theirs).max()


@pytest.mark.parametrize("name", FROM_GRADIENTS)
def test_pytorch_grad_cam(name: str, net: Net, x: torch.Tensor) -> None:
    method, formula = FROM_GRADIENTS[name]
    raw = formula(*inside(net, x))
    assert (raw.max((1, 2)) > 0).all()
    # their 1e-7 beside the largest value of each map
    close(found(method, net, x), pytorch_grad_cam(raw), 4e-7 / positive(raw).max((1, 2)).min())


@pytest.mark.parametrize("cls", [whence.EigenCAM, whence.EigenGradCAM])
def test_pytorch_grad_cam_eigen(cls: type[whence.EigenCAM], net: Net, x: torch.Tensor) -> None:
    a, g = inside(net, x)
    ours = found(cls(layer=LAYER, relu=True, normalize="min_max"), net, x)
    for b, part in enumerate(a if cls is whence.EigenCAM else g * a):
        rows = part.reshape(len(part), -1).T
        rows = rows - rows.mean(0)
        raw = (rows @ np.linalg.svd(rows)[2][0]).reshape(1, 5, 5)
        # one of their two signs
        errors = [abs(ours[b] - pytorch_grad_cam(sign * raw)[0]).max() for sign in (1, -1)]
        assert min(errors) < 1e-5 < max(errors)


def test_pytorch_grad_cam_ablation(net: Net, x: torch.Tensor) -> None:
    a, _ = inside(net, x)
    scores = net(x)[:, TARGET].detach().numpy()
    raw = np.zeros((3, 5, 5))
    for b, image in enumerate(x):
        score = Layer(net, LAYER).score_of_activation(image.numpy(), TARGET)
        for k in range(5):
            without = a[b].copy()
            without[k] = 0
            raw[b] += (scores[b] - score(without)) / scores[b] * a[b, k]
    method = whence.AblationCAM(layer=LAYER, relu=False, upsample="none")
    # theirs turns over where the score is negative
    close(found(method, net, x), raw * np.sign(scores)[:, None, None])


def test_tf_keras_vis(net: Net, x: torch.Tensor) -> None:
    a, g = inside(net, x)
    factor = np.exp(net(x)[:, TARGET].detach().numpy())[:, None, None, None]
    first, second, third = factor * g, factor * g**2, factor * g**3
    bottom = 2 * second + third * a.sum((2, 3), keepdims=True)
    alpha = second / (bottom + (second == 0))
    total = alpha.sum((2, 3), keepdims=True)
    alpha = alpha / (total + (total == 0))
    raw = ((positive(first) * alpha).sum((2, 3), keepdims=True) * a).sum(1)
    method = whence.GradCAMPlusPlus(layer=LAYER, normalize_alpha=True, upsample="none", relu=False)
    close(found(method, net, x) * factor[:, 0], raw)


def test_tf_keras_vis_scores(net: Net, x: torch.Tensor) -> None:
    a, _ = inside(net, x)
    raw = np.zeros((3, 5, 5))
    for k in range(5):
        # masks half-pixel here, theirs with corners aligned
        masks = scaled(upsampled(a[:, k], mode="bilinear", align_corners=False), 1e-300)[:, None]
        raw += net(x * torch.from_numpy(masks)).softmax(1)[:, TARGET].detach().numpy()[:, None, None] * a[:, k]
    method = whence.ScoreCAM(layer=LAYER, weights="score", relu=False, upsample="none")
    close(found(method, net, x, lambda y: y.softmax(1)[:, TARGET]), raw)


def test_xplique(net: Net, x: torch.Tensor) -> None:
    a, g = inside(net, x)
    bottom = 2 * g**2 + g**3 * a.mean((2, 3), keepdims=True)
    bottom = bottom + (bottom == 0) * 1e-4
    raw = positive(((g**2 / bottom * positive(g)).mean((2, 3), keepdims=True) * a).sum(1))
    close(found(whence.GradCAMPlusPlus(layer=LAYER, spatial="mean", upsample="none"), net, x), raw)


def test_pair(net: Net, x: torch.Tensor) -> None:
    a, g = inside(net, x)
    raw = positive((g.mean((2, 3), keepdims=True) * a).sum(1))
    close(found(whence.GradCAM(layer=LAYER, normalize="max", upsample="none"), net, x),
          raw / raw.max((1, 2), keepdims=True))  # fmt: skip


def test_captum(net: Net, x: torch.Tensor) -> None:
    captum = pytest.importorskip("captum.attr")
    theirs = captum.LayerGradCam(net, net.act2)
    raw = theirs.attribute(x, TARGET)
    close(found(whence.GradCAM(layer=LAYER, relu=False, upsample="none"), net, x), raw[:, 0].detach().numpy())
    clipped = theirs.attribute(x, TARGET, relu_attributions=True)[:, 0].detach().numpy()
    close(found(whence.GradCAM(layer=LAYER, upsample="none"), net, x), clipped)
    product = captum.LayerGradientXActivation(net, net.act2).attribute(x, TARGET).sum(1).detach().numpy()
    close(found(whence.HiResCAM(layer=LAYER, upsample="none"), net, x), product)
    for size, equal in ((15, True), (12, False)):
        large = captum.LayerAttribution.interpolate(raw, (size, size))[:, 0].detach().numpy()
        ours = found(whence.GradCAM(layer=LAYER, relu=False, upsample="nearest", size=(size, size)), net, x)
        assert np.allclose(ours, large, rtol=1e-12, atol=0) is equal


def test_captum_along_a_path(net: Net, x: torch.Tensor) -> None:
    captum = pytest.importorskip("captum.attr")
    conductance = captum.LayerConductance(net, net.act1).attribute(
        x, 0.1 * x, target=TARGET, n_steps=7, method="riemann_trapezoid")  # fmt: skip
    left = whence.LayerConductance(layer="act1", baseline=0.1 * x, n_steps=7, rule="riemann_left")
    close(found(left, net, x), conductance.detach().numpy(), 1e-6)  # their steps are float32
    influence = captum.InternalInfluence(net, net.act1).attribute(
        x, 0.1 * x, target=TARGET, n_steps=7, method="gausslegendre")  # fmt: skip
    mean = whence.InternalInfluence(layer="act1", baseline=0.1 * x, n_steps=7, rule="gauss_legendre")
    close(found(mean, net, x), influence.detach().numpy(), 1e-6)
