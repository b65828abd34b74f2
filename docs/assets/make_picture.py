"""The picture of the README: one network in three frameworks, five methods, and how far the numbers are apart.

Run from the repository root with all frameworks installed: ``python docs/assets/make_picture.py``. About a minute.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import torch  # before TensorFlow

# isort: split
import jax
import keras
import matplotlib
import numpy as np
from einops import rearrange
from flax import nnx
from sklearn.datasets import load_digits

import whence

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
DIGIT = 3
METHODS = {
    "Saliency": whence.Saliency(),
    "InputXGradient": whence.InputXGradient(),
    "IntegratedGradients": whence.IntegratedGradients(),
    "GradientSHAP": whence.GradientSHAP(baseline=whence.baselines.Uniform(high=0.3), n_samples=100),
    "SmoothGrad": whence.SmoothGrad(n_samples=100),
}


def digits() -> tuple[np.ndarray, np.ndarray]:
    """1797 images ``[N, 1, 8, 8]`` in [0, 1], and their classes."""
    data = load_digits()
    return (data.images[:, None] / 16).astype(np.float32), data.target


def torch_net(images: np.ndarray, classes: np.ndarray) -> Any:
    """Two convolutions and a linear layer, trained."""
    torch.manual_seed(0)
    nn = torch.nn
    net = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
                        nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(32, 10))  # fmt: skip
    x, y = torch.from_numpy(images), torch.from_numpy(classes)
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(30):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
    print(f"{(net(x).argmax(1) == y).float().mean():.1%} of the digits recognised")
    return net.eval()


class FlaxNet(nnx.Module):
    """The same network in Flax."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        rngs = nnx.Rngs(0)
        self.conv1 = nnx.Conv(1, 16, (3, 3), padding=1, rngs=rngs)
        self.conv2 = nnx.Conv(16, 32, (3, 3), padding=1, rngs=rngs)
        self.head = nnx.Linear(32, 10, rngs=rngs)
        for name, layer in (("0", self.conv1), ("2", self.conv2), ("6", self.head)):
            layer.kernel.value, layer.bias.value = weights[f"{name}.weight"], weights[f"{name}.bias"]

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.conv2(nnx.relu(self.conv1(x))))
        return self.head(x.max(axis=(1, 2)))


def keras_net(weights: dict[str, np.ndarray]) -> Any:
    """The same network in Keras."""
    layers = keras.layers
    net = keras.Sequential([layers.Input((8, 8, 1)), layers.Conv2D(16, 3, padding="same", activation="relu"),
                            layers.Conv2D(32, 3, padding="same", activation="relu"), layers.GlobalMaxPooling2D(),
                            layers.Dense(10)])  # fmt: skip
    net.set_weights([weights[f"{name}.{part}"] for name in ("0", "2", "6") for part in ("weight", "bias")])
    return net


def channels_last(weights: dict[str, Any]) -> dict[str, np.ndarray]:
    """torch's weights in the order of axes that Flax and Keras have."""
    order = {2: "new old -> old new", 4: "new old h w -> h w old new"}
    arrays = {name: value.numpy() for name, value in weights.items()}
    return {name: rearrange(a, order[a.ndim]) if a.ndim in order else a for name, a in arrays.items()}


def main() -> None:
    images, classes = digits()
    net = torch_net(images, classes)
    weights = channels_last(net.state_dict())
    x = images[classes == DIGIT][:1]
    x_last = rearrange(x, "b c h w -> b h w c")
    models = {"PyTorch": (net, x), "Flax": (FlaxNet(weights), x_last), "Keras": (keras_net(weights), x_last)}
    maps = {
        (framework, name): method.explain(model, data, DIGIT).attributions.reshape(8, 8)
        for framework, (model, data) in models.items()
        for name, method in METHODS.items()
    }
    figure, axes = plt.subplots(len(models), len(METHODS) + 1, figsize=(8.6, 4.5), layout="constrained")
    for row, framework in enumerate(models):
        axes[row, 0].imshow(x[0, 0], cmap="gray_r")
        axes[row, 0].set_ylabel(framework, fontsize=11)
        for column, name in enumerate(METHODS, start=1):
            found, first = maps[framework, name], maps["PyTorch", name]
            most = np.abs(first).max()
            axes[row, column].imshow(found, cmap="RdBu_r", vmin=-most, vmax=most)
            if row:
                gap = np.abs(found - first).max() / most
                assert gap < 1e-5, (framework, name, gap)
                axes[row, column].set_xlabel(f"differs by {gap:.0e}", fontsize=8)
    for axis, title in zip(axes[0], ["input", *METHODS], strict=True):
        axis.set_title(title, fontsize=9)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    figure.savefig(HERE / "digits.png", dpi=110)
    print(HERE / "digits.png", (HERE / "digits.png").stat().st_size, "bytes")


if __name__ == "__main__":
    main()
