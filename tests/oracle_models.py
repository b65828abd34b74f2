"""Small networks in NumPy float64 with gradients derived by hand, one example at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.oracles import Array

N_FEATURES, N_HIDDEN, N_CLASSES, BATCH = 6, 8, 3, 4
SMALL_IMAGE = (2, 6, 5)  # channels, height, width


@dataclass(frozen=True)
class MLP:
    """z = x w1 + b1, h = act(z), y = h w2 + b2, with w1 [in, hidden] and w2 [hidden, classes]."""

    w1: Array
    b1: Array
    w2: Array
    b2: Array
    activation: str

    def before(self, x: Array) -> Array:
        return np.array([sum(x[i] * self.w1[i, j] for i in range(len(x))) + self.b1[j] for j in range(len(self.b1))])

    def activate(self, z: Array) -> Array:
        return np.tanh(z) if self.activation == "tanh" else np.where(z > 0, z, 0.0)

    def slope(self, z: Array) -> Array:
        """act'(z): 1 - tanh^2, or whether z > 0."""
        return 1 - np.tanh(z) ** 2 if self.activation == "tanh" else np.where(z > 0, 1.0, 0.0)

    def hidden(self, x: Array) -> Array:
        return self.activate(self.before(x))

    def score(self, x: Array, target: int) -> float:
        return self.score_from_hidden(self.hidden(x), target)

    def score_from_before(self, z: Array, target: int) -> float:
        return self.score_from_hidden(self.activate(z), target)

    def score_from_hidden(self, h: Array, target: int) -> float:
        return float(sum(h[j] * self.w2[j, target] for j in range(len(h))) + self.b2[target])

    def gradient_at_hidden(self, h: Array, target: int) -> Array:
        """dy_t / dh_j = w2_jt, whatever h."""
        return np.array([self.w2[j, target] for j in range(len(h))])

    def gradient_at_before(self, z: Array, target: int) -> Array:
        """dy_t / dz_j = act'(z_j) w2_jt."""
        return self.slope(z) * self.gradient_at_hidden(z, target)

    def gradient(self, x: Array, target: int) -> Array:
        """dy_t / dx_i = sum_j w1_ij dy_t / dz_j."""
        above = self.gradient_at_before(self.before(x), target)
        return np.array([sum(self.w1[i, j] * above[j] for j in range(len(above))) for i in range(len(x))])

    def neuron_gradient(self, x: Array, neuron: int) -> Array:
        """dh_j / dx_i = w1_ij act'(z_j)."""
        return self.w1[:, neuron] * self.slope(self.before(x))[neuron]


def mlp(activation: str, seed: int = 7) -> MLP:
    draws = np.random.default_rng(seed)
    return MLP(
        draws.normal(size=(N_FEATURES, N_HIDDEN)) / np.sqrt(N_FEATURES),
        draws.normal(size=N_HIDDEN) * 0.3,
        draws.normal(size=(N_HIDDEN, N_CLASSES)) / np.sqrt(N_HIDDEN),
        draws.normal(size=N_CLASSES) * 0.3,
        activation,
    )


def inputs(seed: int = 11) -> Array:
    return np.random.default_rng(seed).normal(size=(BATCH, N_FEATURES))


def baselines(seed: int = 13) -> Array:
    return np.random.default_rng(seed).normal(size=(BATCH, N_FEATURES)) * 0.4


def reference_rows(n: int = 5, seed: int = 17) -> Array:
    """Rows of a background data set."""
    return np.random.default_rng(seed).normal(size=(n, N_FEATURES)) * 0.7


def convnet(seed: int = 19) -> dict[str, Array]:
    draws = np.random.default_rng(seed)
    channels, height, width = SMALL_IMAGE
    features = 4 * (height - 4) * (width - 4)
    return {
        "k1": draws.normal(size=(3, channels, 3, 3)) / 4,
        "b1": draws.normal(size=3) * 0.2,
        "k2": draws.normal(size=(4, 3, 3, 3)) / 4,
        "b2": draws.normal(size=4) * 0.2,
        "w": draws.normal(size=(N_CLASSES, features)) / 3,
        "b": draws.normal(size=N_CLASSES) * 0.2,
    }


def images(seed: int = 23) -> Array:
    return np.random.default_rng(seed).normal(size=(BATCH, *SMALL_IMAGE))
