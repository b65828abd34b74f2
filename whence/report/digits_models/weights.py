"""The network's weights, by layer: before training, in PyTorch's layout, and in that of channels-last frameworks.

Two convolutions of 3 by 3 (``conv1``, ``conv2``), a maximum over 2 by 2, two dense layers (``dense``, ``head``).
Kernels are ``[outputs, inputs, *window]``; ``dense`` counts its inputs in the order channel, row, column.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

Weights = dict[str, np.ndarray]

CONV1, CONV2, DENSE, CLASSES = 8, 16, 32, 10
POOLED = (CONV2, 4, 4)
SHAPES = {
    "conv1": (CONV1, 1, 3, 3),
    "conv2": (CONV2, CONV1, 3, 3),
    "dense": (DENSE, math.prod(POOLED)),
    "head": (CLASSES, DENSE),
}
LEARNING_RATE, EPOCHS, BATCH = 5e-3, 15, 64


def initial(seed: int = 0) -> Weights:
    """Weights before training (He et al. 2015, arXiv 1502.01852), with biases of zero."""
    rng = np.random.Generator(np.random.Philox(seed))
    weights: Weights = {}
    for layer, shape in SHAPES.items():
        scale = math.sqrt(2 / math.prod(shape[1:]))
        weights[f"{layer}.weight"] = (scale * rng.standard_normal(shape)).astype(np.float32)
        weights[f"{layer}.bias"] = np.zeros(shape[0], np.float32)
    return weights


def batches(images: np.ndarray, labels: np.ndarray, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The batches of a training, shuffled anew in each epoch; the last ones of an epoch that fill none are left out."""
    rng = np.random.Generator(np.random.Philox(seed))
    for _ in range(EPOCHS):
        order = rng.permutation(len(images))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            rows = order[start : start + BATCH]
            yield images[rows], labels[rows]


def to_channels_last(weights: Weights) -> dict[str, list[np.ndarray]]:
    """By layer [kernel, bias], kernels as ``[*window, inputs, outputs]``; ``dense`` counts row, column, channel."""
    layers = {}
    for layer in SHAPES:
        kernel = weights[f"{layer}.weight"]
        if layer == "dense":
            kernel = np.moveaxis(kernel.reshape(-1, *POOLED), 1, -1).reshape(kernel.shape)
        layers[layer] = [np.moveaxis(kernel, (0, 1), (-1, -2)), weights[f"{layer}.bias"]]
    return layers


def from_channels_last(layers: dict[str, list[np.ndarray]]) -> Weights:
    """The inverse of ``to_channels_last``."""
    weights: Weights = {}
    for layer, (kernel, bias) in layers.items():
        moved = np.moveaxis(kernel, (-1, -2), (0, 1))
        if layer == "dense":
            height, width = POOLED[1:]
            moved = np.moveaxis(moved.reshape(-1, height, width, CONV2), -1, 1).reshape(moved.shape)
        weights[f"{layer}.weight"], weights[f"{layer}.bias"] = np.ascontiguousarray(moved), bias
    return weights
