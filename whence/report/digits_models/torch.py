"""The network in PyTorch, channels first."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import nn

from whence.report.digits_models.weights import CLASSES, CONV1, CONV2, DENSE, LEARNING_RATE, POOLED, Weights, batches


class DigitsNet(nn.Sequential):
    """Two convolutions and two dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, CONV1, 3, padding="same")
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(CONV1, CONV2, 3, padding="same")
        self.relu2 = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.dense = nn.Linear(int(np.prod(POOLED)), DENSE)
        self.relu3 = nn.ReLU()
        self.head = nn.Linear(DENSE, CLASSES)


def build(weights: Weights, dtype: str) -> nn.Module:
    """The network with these weights, in inference mode; on the CPU, where frameworks can be compared."""
    with torch.device("meta"):  # no weights are drawn, so the global generator stays as it is
        model = DigitsNet()
    own = {name: torch.tensor(array, dtype=getattr(torch, dtype), device="cpu") for name, array in weights.items()}
    model.load_state_dict(own, assign=True)
    return model.eval()


def train(weights: Weights, images: np.ndarray, labels: np.ndarray) -> Weights:
    """The weights after training."""
    model = build(weights, "float32").train()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    for x, y in batches(images, labels):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        optimizer.step()
    return {name: value.detach().numpy().copy() for name, value in model.state_dict().items()}


def scope(dtype: str) -> AbstractContextManager[None]:
    """Nothing is needed: the model is on the CPU and has its dtype."""
    return nullcontext()
