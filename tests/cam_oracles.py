"""Maps and layer attributions as their papers state them, in plain loops and float64: what the library is held to.

Nothing here imports the library. A method is a function of *one* example: of a layer's activation `A` and the
score's gradient `g` there, both [K, h, w] (channel, row, column), or of `score`, which takes an activation or an image.
PyTorch supplies activations and gradients, by hooks (`Layer`), and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

Array = npt.NDArray[np.float64]
Score = Callable[[Array], float]


# Activations and gradients of a PyTorch model


class Layer:
    """One layer of a model: what it puts out, what the score's gradient there is, the score where it is replaced."""

    def __init__(self, model: nn.Module, name: str) -> None:
        self.model, self.module = model, model.get_submodule(name)

    def activation_and_gradient(self, x: Array, target: int) -> tuple[Array, Array]:
        """A(x) and ds/dA, the second with respect to a zero added to A; `x` is one example without a batch axis."""
        seen: list[Tensor] = []
        zeros: list[Tensor] = []

        def add_zero(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            seen.append(output.detach())
            zeros.append(torch.zeros_like(output).requires_grad_())
            return output + zeros[-1]

        handle = self.module.register_forward_hook(add_zero)
        try:
            score = self.model(torch.from_numpy(x)[None])[0, target]
        finally:
            handle.remove()
        (gradient,) = torch.autograd.grad(score, zeros)
        return seen[0][0].numpy(), gradient[0].numpy()

    def score_of_activation(self, x: Array, target: int) -> Score:
        """The score of `x` with the layer's output replaced."""

        def score(activation: Array) -> float:
            value = torch.from_numpy(np.ascontiguousarray(activation))[None]
            handle = self.module.register_forward_hook(lambda module, inputs, output: value)
            try:
                return score_of(self.model, x, target)
            finally:
                handle.remove()

        return score


def score_of(model: nn.Module, x: Array, target: int) -> float:
    with torch.no_grad():
        return model(torch.from_numpy(np.ascontiguousarray(x))[None])[0, target].item()


def on_grid(tokens: Array, class_tokens: int, grid: tuple[int, int]) -> Array:
    """Tokens [T, C] as [C, h, w], row by row, without the `class_tokens` in front."""
    out = np.zeros((tokens.shape[1], *grid))
    for k, i, j in np.ndindex(*out.shape):
        out[k, i, j] = tokens[class_tokens + i * grid[1] + j, k]
    return out


# From the raw map to the picture


def relu(m: Array) -> Array:
    return np.where(m > 0, m, 0.0)


def nearest(m: Array, size: tuple[int, int]) -> Array:
    """Pixel i of n is filled from the pixel that its centre (i + 1/2) h / n falls into, in whole numbers."""
    out = np.zeros(size)
    for i, j in np.ndindex(*size):
        out[i, j] = m[(2 * i + 1) * m.shape[0] // (2 * size[0]), (2 * j + 1) * m.shape[1] // (2 * size[1])]
    return out


def shares(n: int, h: int) -> Array:
    """[n, h]: what pixel i of n takes from each of h; its centre lies at (i + 1/2) h / n - 1/2 between two of them."""
    out = np.zeros((n, h))
    for i in range(n):
        at = (i + 0.5) * h / n - 0.5
        low = math.floor(at)
        out[i, min(max(low, 0), h - 1)] += 1 - (at - low)
        out[i, min(max(low + 1, 0), h - 1)] += at - low
    return out


def bilinear(m: Array, size: tuple[int, int]) -> Array:
    """Half-pixel centres, the edge repeated outwards, no antialiasing."""
    return shares(size[0], m.shape[0]) @ m @ shares(size[1], m.shape[1]).T


UPSAMPLE = {"none": lambda m, size: m, "nearest": nearest, "bilinear": bilinear}


def min_max(m: Array) -> Array:
    """(m - min) / (max - min); zeros where the map is flat."""
    low, high = m.min(), m.max()
    return (m - low) / (high - low) if high > low else np.zeros(m.shape)


def by_max(m: Array) -> Array:
    """m / max |m|; zeros where the map is zero."""
    top = abs(m).max()
    return m / top if top > 0 else np.zeros(m.shape)


NORMALIZE = {"none": lambda m: m, "min_max": min_max, "max": by_max}


def finish(
    raw: Sequence[Array], size: tuple[int, int], rectified: bool, upsample: str = "bilinear", normalize: str = "none"
) -> Array:
    """relu, upsample and normalize the map of each layer; several are averaged and normalized again."""
    maps = [NORMALIZE[normalize](UPSAMPLE[upsample](relu(m) if rectified else m, size)) for m in raw]
    return maps[0] if len(maps) == 1 else NORMALIZE[normalize](sum(maps) / len(maps))


# Maps from the gradient


def weighted(w: Sequence[float], A: Array) -> Array:
    """sum_k w_k A_k."""
    out = np.zeros(A.shape[1:])
    for k in range(len(A)):
        out += w[k] * A[k]
    return out


def grad_cam(A: Array, g: Array) -> Array:
    """Selvaraju et al. 2017, eq. 1 and 2 before the ReLU: a_k = 1/Z sum_ij g_k,ij; sum_k a_k A_k."""
    return weighted([g[k].sum() / g[k].size for k in range(len(A))], A)


def grad_cam_plus_plus(
    A: Array, g: Array, epsilon: float = 0.0, mean: bool = False, normalize_alpha: bool = False
) -> Array:
    """Chattopadhay et al. 2018, eq. 9 and 19 for Y = exp(S), the factor exp(S) left out:

    alpha_ij = g_ij^2 / (2 g_ij^2 + sum_ab A_ab g_ij^3);  w_k = sum_ij alpha_ij relu(g_ij).
    """
    over_space = np.mean if mean else np.sum
    w = []
    for k in range(len(A)):
        alpha = np.zeros(g[k].shape)
        for i, j in np.ndindex(*g[k].shape):
            if g[k, i, j] != 0:
                alpha[i, j] = g[k, i, j] ** 2 / (2 * g[k, i, j] ** 2 + over_space(A[k]) * g[k, i, j] ** 3 + epsilon)
        if normalize_alpha and alpha.sum() != 0:
            alpha = alpha / alpha.sum()
        w.append(float(over_space(alpha * relu(g[k]))))
    return weighted(w, A)


def hires_cam(A: Array, g: Array) -> Array:
    """Draelos & Carin 2020, eq. 3: sum_k g_k A_k, element by element."""
    out = np.zeros(A.shape[1:])
    for k, i, j in np.ndindex(*A.shape):
        out[i, j] += g[k, i, j] * A[k, i, j]
    return out


def x_grad_cam(A: Array, g: Array, epsilon: float = 0.0) -> Array:
    """Fu et al. 2020, eq. 8: w_k = sum_ij A_k,ij g_k,ij / sum_ij A_k,ij."""
    w = []
    for k in range(len(A)):
        total = A[k].sum() + epsilon
        w.append((A[k] * g[k]).sum() / total if total != 0 else 0.0)
    return weighted(w, A)


def layer_cam(A: Array, g: Array) -> Array:
    """Jiang et al. 2021, eq. 5 and 6: sum_k relu(g_k) A_k, element by element."""
    return hires_cam(A, relu(g))


def cam(A: Array, w: Array) -> Array:
    """Zhou et al. 2016, eq. 2: sum_k w_k A_k, w the class's row of the dense layer behind the mean over positions."""
    return weighted(list(w), A)


# Maps from scores


def most_varied(A: Array, n: int | None) -> list[int]:
    """The n channels of largest standard deviation over space, of equal ones the first."""
    spread = [math.sqrt(((A[k] - A[k].mean()) ** 2).mean()) for k in range(len(A))]
    return sorted(range(len(A)), key=lambda k: (-spread[k], k))[:n]


def score_cam(
    A: Array, x: Array, score: Score, weights: str = "softmax", baseline: float = 0.0, channels: int | None = None
) -> Array:
    """Wang et al. 2020, eq. 6 to 8: H_k the map of channel k, upsampled and scaled to [0, 1]; w of f(x * H_k).

    With a baseline x_b the image x_b + H_k (x - x_b); `weights`: softmax_k of it, its increase over f(x_b), itself.
    """
    chosen, background = most_varied(A, channels), np.full(x.shape, baseline)
    scores = []
    for k in chosen:
        mask = min_max(bilinear(A[k], x.shape[1:]))
        scores.append(score(background + mask * (x - background)))
    if weights == "softmax":
        exponentials = [math.exp(s - max(scores)) for s in scores]
        w = [e / sum(exponentials) for e in exponentials]
    elif weights == "increase":
        w = [s - score(background) for s in scores]
    else:
        w = scores
    return weighted(w, A[chosen])


def ablation_cam(A: Array, score: Score, channels: int | None = None) -> Array:
    """Desai & Ramaswamy 2020, eq. 3 and 4: w_k = (s - s_k) / |s|, s_k without channel k; sum_k w_k A_k."""
    s, chosen, w = score(A), most_varied(A, channels), []
    for k in chosen:
        without = A.copy()
        without[k] = 0
        w.append((s - score(without)) / abs(s) if s != 0 else 0.0)
    return weighted(w, A[chosen])


# Maps from principal components


def eigen_cam(A: Array, center: bool = True) -> Array:
    """Muhammad & Yeasin 2020, eq. 4: O = U S V^T, the map O v_1; O is [h w, K], its sign that of the channel mean."""
    pixels = A.reshape(len(A), -1).T
    if center:
        pixels = pixels - pixels.mean(axis=0)
    v1 = np.linalg.svd(pixels)[2][0]
    projection = pixels @ v1
    sign = -1.0 if projection @ A.reshape(len(A), -1).mean(axis=0) < 0 else 1.0
    return (sign * projection).reshape(A.shape[1:])


def eigen_grad_cam(A: Array, g: Array, center: bool = True) -> Array:
    """The same of g A, element by element."""
    return eigen_cam(A * g, center)


# All biases


def biases(model: nn.Module) -> list[tuple[nn.Module, Array]]:
    """Convolutions with their bias and batch normalizations with beta - gamma mean / sqrt(var + eps)."""
    found = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            found.append((module, module.bias.detach().numpy()))
        elif isinstance(module, nn.BatchNorm2d):
            beta, gamma, mean, var = (
                t.detach().numpy() for t in (module.bias, module.weight, module.running_mean, module.running_var)
            )
            found.append((module, beta - gamma * mean / np.sqrt(var + module.eps)))
    return found


def full_grad_terms(model: nn.Module, x: Array, target: int) -> list[Array]:
    """Srinivas & Fleuret 2019, eq. 4: x ds/dx, and b ds/dz for each layer z = ... + b that has positions, [K, h, w]."""
    zeros: dict[nn.Module, Tensor] = {}

    def add_zero(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        zeros[module] = torch.zeros_like(output).requires_grad_()
        return output + zeros[module]

    found = biases(model)
    handles = [module.register_forward_hook(add_zero) for module, _ in found]
    try:
        image = torch.from_numpy(x)[None].requires_grad_()
        score = model(image)[0, target]
    finally:
        for handle in handles:
            handle.remove()
    gradients = torch.autograd.grad(score, [image, *(zeros[module] for module, _ in found)])
    slope, *slopes = (gradient[0].numpy() for gradient in gradients)
    return [x * slope] + [b[:, None, None] * g for (_, b), g in zip(found, slopes, strict=True)]


def full_grad(terms: Sequence[Array], rescale: bool = True) -> Array:
    """Eq. 6: psi(x ds/dx) + sum over layers and channels of psi(b ds/dz).

    psi takes the absolute value, rescales to [0, 1] and resizes to the image; as in the authors' code
    (idiap/fullgrad-saliency), it rescales all channels of a layer together.
    """
    size = terms[0].shape[1:]
    out = np.zeros(size)
    for term in terms:
        psi = min_max(abs(term)) if rescale else abs(term)
        for k in range(len(psi)):
            out += bilinear(psi[k], size)
    return out


# Along a path


def path(x: Array, baseline: Array, alphas: Sequence[float]) -> list[Array]:
    """x' + alpha (x - x')."""
    return [baseline + alpha * (x - baseline) for alpha in alphas]


def conductance(points: Sequence[tuple[Array, Array]], rule: str) -> Array:
    """Dhamdhere, Sundararajan & Yan 2018, eq. 3, summed over inputs: the integral of ds/dA dA along a path.

    `points` are A and ds/dA at n + 1 points from the baseline to the input; a step between two of them takes the
    gradient of its left end, its right end or their mean.
    """
    left, right = {"riemann_left": (1.0, 0.0), "riemann_right": (0.0, 1.0), "riemann_trapezoid": (0.5, 0.5)}[rule]
    out = np.zeros(points[0][0].shape)
    for (A, g), (A_next, g_next) in pairwise(points):
        out += (left * g + right * g_next) * (A_next - A)
    return out


def internal_influence(gradients: Sequence[Array], weights: Sequence[float]) -> Array:
    """Leino et al. 2018, definition 1, for points uniform on a path: the integral of ds/dA over alpha from 0 to 1."""
    return sum(w * g for g, w in zip(gradients, weights, strict=True))
