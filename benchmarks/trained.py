"""Small networks trained in seconds: two on scikit-learn's digits at 32 pixels, one on its breast cancer table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from tests.zoo.torch_models import build

HELD_OUT = 300


@dataclass(frozen=True)
class Trained:
    """A network in inference mode, inputs that it was not trained on and their classes, and its accuracy there."""

    name: str
    model: nn.Module
    x: Tensor
    y: Tensor
    accuracy: float


def networks(count: int) -> list[Trained]:
    """A residual network, a vision transformer and an MLP, each with ``count`` held-out inputs."""
    return [
        resnet(count),
        _trained("ViT, digits", build("vit", channels=1), _digits(), epochs=30, rate=2e-3, count=count),
        _trained("MLP, breast cancer", _mlp(), _cancer(), epochs=40, rate=1e-3, count=count),
    ]


def resnet(count: int) -> Trained:
    """The residual network by itself."""
    model = build("resnet", image=32, channels=1, width=16)
    return _trained("ResNet w16, digits", model, _digits(), epochs=6, rate=2e-3, count=count)


def _trained(
    name: str, model: nn.Module, data: tuple[Tensor, Tensor], *, epochs: int, rate: float, count: int
) -> Trained:
    torch.manual_seed(0)
    x, y = data
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    order = torch.randperm(len(x))
    train, test = order[HELD_OUT:], order[:HELD_OUT]
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=1e-2)
    model.train()
    for _ in range(epochs):
        for rows in train[torch.randperm(len(train))].split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        accuracy = (model(x[test]).argmax(1) == y[test]).float().mean().item()
    return Trained(name, model, x[test[:count]], y[test[:count]], accuracy)


def _digits() -> tuple[Tensor, Tensor]:
    """Images [B, 1, 32, 32] with values in [0, 1]."""
    images, classes = load_digits(return_X_y=True)
    small = torch.from_numpy(images.astype(np.float32)).reshape(-1, 1, 8, 8) / 16
    return nn.functional.interpolate(small, size=32, mode="bilinear"), torch.from_numpy(classes)


def _cancer() -> tuple[Tensor, Tensor]:
    table, classes = load_breast_cancer(return_X_y=True)
    return torch.from_numpy(StandardScaler().fit_transform(table).astype(np.float32)), torch.from_numpy(classes)


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
