"""Attribution methods as their papers state them, in plain loops and float64: what the library is compared with.

Nothing here imports the library. A model is two functions of *one* example x (no batch axis): `score(x)`, a number, and
`gradient(x)`, an array like x. `x` below is a batch [B, ...]; draws are given as arrays whose first axes are [draw, B].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Score = Callable[[Array], float]
Gradient = Callable[[Array], Array]


def saliency(gradient: Gradient, x: Array) -> Array:
    """Simonyan, Vedaldi & Zisserman 2013, section 3, with its sign: a_i = df(x) / dx_i."""
    return np.stack([gradient(x[b]) for b in range(len(x))])


def input_x_gradient(gradient: Gradient, x: Array) -> Array:
    """Shrikumar, Greenside, Shcherbina & Kundaje 2016, section 2: a_i = x_i df(x) / dx_i."""
    out = np.zeros(x.shape)
    for b in range(len(x)):
        slope = gradient(x[b])
        for i in np.ndindex(*x.shape[1:]):
            out[(b, *i)] = x[b][i] * slope[i]
    return out


def legendre(n: int, t: float) -> tuple[float, float]:
    """P_n(t) and P_n'(t): k P_k = (2k - 1) t P_(k-1) - (k - 1) P_(k-2); (t^2 - 1) P_n' = n (t P_n - P_(n-1))."""
    before, here = 1.0, t
    for k in range(2, n + 1):
        before, here = here, ((2 * k - 1) * t * here - (k - 1) * before) / k
    return here, n * (t * here - before) / (t * t - 1)


def gauss_legendre(n: int) -> tuple[list[float], list[float]]:
    """Abramowitz & Stegun 25.4.29 on [0, 1]: nodes are the roots of P_n, weights 2 / ((1 - t^2) P_n'(t)^2), halved."""
    nodes, weights = [], []
    for k in range(n, 0, -1):
        t = math.cos(math.pi * (k - 0.25) / (n + 0.5))
        for _ in range(50):  # Newton
            value, slope = legendre(n, t)
            t -= value / slope
        slope = legendre(n, t)[1]
        nodes.append((1 + t) / 2)
        weights.append(1 / ((1 - t * t) * slope * slope))
    return nodes, weights


def rule(name: str, n: int) -> tuple[list[float], list[float]]:
    """n points on the way from 0 to 1 and their weights, which sum to one."""
    if name == "riemann_left":
        return [k / n for k in range(n)], [1 / n] * n
    if name == "riemann_right":
        return [(k + 1) / n for k in range(n)], [1 / n] * n
    if name == "riemann_middle":
        return [(k + 0.5) / n for k in range(n)], [1 / n] * n
    if name == "riemann_trapezoid":
        ends = 0.5 / (n - 1)
        return [k / (n - 1) for k in range(n)], [ends] + [2 * ends] * (n - 2) + [ends]
    if name == "gauss_legendre":
        return gauss_legendre(n)
    raise ValueError(name)


def integrated_gradients(
    gradient: Gradient, x: Array, baseline: Array, n_steps: int = 50, name: str = "riemann_middle"
) -> Array:
    """Sundararajan, Taly & Yan 2017, eq. 1: a_i = (x_i - x'_i) int_0^1 df(x' + alpha (x - x')) / dx_i d alpha."""
    out = np.zeros(x.shape)
    alphas, weights = rule(name, n_steps)
    for b in range(len(x)):
        for alpha, weight in zip(alphas, weights, strict=True):
            out[b] += weight * gradient(baseline[b] + alpha * (x[b] - baseline[b]))
        for i in np.ndindex(*x.shape[1:]):
            out[(b, *i)] *= x[b][i] - baseline[b][i]
    return out


def completeness_gap(score: Score, attribution: Array, x: Array, baseline: Array) -> Array:
    """Sundararajan et al. 2017, proposition 1: sum_i a_i - (f(x) - f(x')), zero for the exact integral."""
    return np.array([attribution[b].sum() - (score(x[b]) - score(baseline[b])) for b in range(len(x))])


def noisy_terms(method: Callable[[Array], Array], x: Array, noise: Array) -> Array:
    """`method` at x + noise[s], for each draw s: [draw, B, ...]."""
    return np.stack([method(x + noise[s]) for s in range(len(noise))])


def mean(terms: Array) -> Array:
    """Mean over draws: sum_s t_s / n."""
    total = np.zeros(terms.shape[1:])
    for term in terms:
        total += term
    return total / len(terms)


def standard_error(terms: Array) -> Array:
    """Of the mean over draws: sqrt(sum_s (t_s - mean)^2 / (n - 1)) / sqrt(n)."""
    n, centre = len(terms), mean(terms)
    squares = np.zeros(terms.shape[1:])
    for term in terms:
        squares += (term - centre) ** 2
    return np.sqrt(squares / (n - 1)) / math.sqrt(n)


def smoothgrad(method: Callable[[Array], Array], x: Array, noise: Array) -> Array:
    """Smilkov, Thorat, Kim, Viegas & Wattenberg 2017, section 2.2: (1 / n) sum_s M(x + noise_s)."""
    return mean(noisy_terms(method, x, noise))


def smoothgrad_squared(method: Callable[[Array], Array], x: Array, noise: Array) -> Array:
    """Hooker, Erhan, Kindermans & Kim 2019, section 3: (1 / n) sum_s M(x + noise_s)^2."""
    return mean(noisy_terms(method, x, noise) ** 2)


def vargrad(method: Callable[[Array], Array], x: Array, noise: Array) -> Array:
    """Adebayo et al. 2018, section 2: Var_s M(x + noise_s), the population's: (1 / n) sum_s (M_s - mean)^2."""
    terms = noisy_terms(method, x, noise)
    return mean((terms - mean(terms)) ** 2)


def vargrad_standard_error(method: Callable[[Array], Array], x: Array, noise: Array) -> Array:
    """Of the mean of the squared deviations (M_s - mean)^2, taken as draws."""
    terms = noisy_terms(method, x, noise)
    return standard_error((terms - mean(terms)) ** 2)


def expected_gradients_terms(gradient: Gradient, x: Array, baselines: Array, alphas: Array, noise: Array) -> Array:
    """The draws of `expected_gradients`: [draw, B, ...]."""
    terms = np.zeros(noise.shape)
    for s in range(len(noise)):
        for b in range(len(x)):
            there = x[b] + noise[s][b]
            step = there - baselines[s][b]
            terms[s][b] = step * gradient(baselines[s][b] + alphas[s][b] * step)
    return terms


def expected_gradients(gradient: Gradient, x: Array, baselines: Array, alphas: Array, noise: Array) -> Array:
    """Erion, Janizek, Sturmfels, Lundberg & Lee 2021, eq. 3, GradientSHAP with noise (Lundberg & Lee's shap 0.4x):

    a_i = E over x' ~ D, alpha ~ U(0, 1), e ~ N of (x_i + e_i - x'_i) df(x' + alpha (x + e - x')) / dx_i.
    """
    return mean(expected_gradients_terms(gradient, x, baselines, alphas, noise))


def expected_completeness_gap(score: Score, attribution: Array, x: Array, baselines: Array) -> Array:
    """Erion et al. 2021, section 2: sum_i a_i - (f(x) - E f(x')), the mean taken over the draws of x'."""
    out = np.zeros(len(x))
    for b in range(len(x)):
        expected = sum(score(baselines[s][b]) for s in range(len(baselines))) / len(baselines)
        out[b] = attribution[b].sum() - (score(x[b]) - expected)
    return out


def deep_lift(net: Any, x: Array, x0: Array, target: int) -> Array:
    """Shrikumar, Greenside & Kundaje 2017, equation 3 and sections 3.4, 3.5.1, on affine, act, affine (`net`):
    a_i = (x_i - x0_i) sum_j w1_ij (act(z_j) - act(z0_j)) / (z_j - z0_j) w2_jt; act'(z_j) where z_j = z0_j."""
    z, z0 = net.before(x), net.before(x0)
    out = np.zeros(x.shape)
    for j in range(len(z)):
        same = z[j] == z0[j]
        m = net.slope(z)[j] if same else (net.activate(z)[j] - net.activate(z0)[j]) / (z[j] - z0[j])
        for i in range(len(x)):
            out[i] += (x[i] - x0[i]) * net.w1[i, j] * m * net.w2[j, target]
    return out


def reveal_cancel(
    layers: Sequence[tuple[Array, Array]], activate: Callable[[Array], Array], x: Array, x0: Array, target: int
) -> Array:
    """Shrikumar, Greenside & Kundaje 2017, sections 3.5.2 and 3.5.3, on affine, act, affine, ..., affine, the layers
    being x w + b: multipliers of the positive and of the negative part of what comes to each activation."""
    values, values0 = [x], [x0]
    for w, b in layers[:-1]:
        values.append(activate(values[-1] @ w + b))
        values0.append(activate(values0[-1] @ w + b))
    multiplier = layers[-1][0][:, target]
    for (w, b), a, a0 in list(zip(layers[:-1], values, values0, strict=False))[::-1]:
        below = np.zeros(a.shape)
        for j in range(len(b)):
            parts = [float(w[i, j] * (a[i] - a0[i])) for i in range(len(a))]
            up, down = sum(max(p, 0.0) for p in parts), sum(min(p, 0.0) for p in parts)

            def f(change: float, z0: float = float(a0 @ w[:, j] + b[j])) -> float:
                return float(activate(np.array(z0 + change)))

            rise = ((f(up) - f(0)) + (f(down + up) - f(down))) / 2
            fall = ((f(down) - f(0)) + (f(up + down) - f(up))) / 2
            m_up, m_down = (change / part if part else 0.0 for change, part in ((rise, up), (fall, down)))
            for i, part in enumerate(parts):
                m = m_up if part > 0 else m_down if part < 0 else (m_up + m_down) / 2
                below[i] += w[i, j] * m * multiplier[j]
        multiplier = below
    return (x - x0) * multiplier


def lrp_affine(x: Array, w: Array, b: Array, relevance: Array, how: str, epsilon: float) -> Array:
    """Relevance of x [in] from that of x w + b [out], from the contributions x_i w_ij: Bach et al. 2015, equations 58
    ("epsilon") and 60 ("alpha_beta" with alpha 2, beta 1, "z_plus" with 1, 0), Montavon et al. 2019, section 10.2.3
    ("gamma", 1/4, for inputs and outputs of either sign), Montavon et al. 2017 ("box" for inputs from -2 to 3,
    "w_square"), Lapuschkin et al. 2019 ("flat")."""
    out = np.zeros(x.shape)
    for j in range(len(b)):
        weights = [float(w[i, j]) for i in range(len(x))]
        by = {
            "box": [x[i] * v + 2 * max(v, 0.0) - 3 * min(v, 0.0) for i, v in enumerate(weights)],
            "w_square": [v * v for v in weights],
            "flat": [1.0 for _ in weights],
        }.get(how)
        if by is not None:
            for i, own in enumerate(by):
                out[i] += own / (sum(by) + (epsilon if how == "box" else 0)) * relevance[j]
            continue
        parts = [float(x[i] * w[i, j]) for i in range(len(x))]
        z = sum(parts) + b[j]
        up, down = (sum(f(p, 0.0) for p in [*parts, b[j]]) for f in (max, min))

        def kept(value: float) -> float:
            return value + (epsilon if value >= 0 else -epsilon)

        for i, p in enumerate(parts):
            if how == "epsilon":
                share = p / kept(z)
            elif how == "gamma" and z != 0:
                f, total = (max, up) if z > 0 else (min, down)
                share = (p + 0.25 * f(p, 0.0)) / kept(z + 0.25 * total)
            else:
                alpha, beta = {"alpha_beta": (2.0, 1.0), "z_plus": (1.0, 0.0), "gamma": (0.0, 0.0)}[how]
                share = alpha * max(p, 0.0) / kept(up) - beta * min(p, 0.0) / kept(down)
            out[i] += share * relevance[j]
    return out


def lrp(net: Any, x: Array, target: int, how: str, epsilon: float, first: str | None = None) -> Array:
    """Layer by layer on affine, act, affine (`net`): the activation keeps each unit's relevance. ``first`` is the rule
    of the first layer, if it has one of its own."""
    hidden, relevance = net.hidden(x), np.zeros(net.b2.shape)
    relevance[target] = net.score(x, target)
    at_hidden = lrp_affine(hidden, net.w2, net.b2, relevance, how, epsilon)
    return lrp_affine(x, net.w1, net.b1, at_hidden, first or how, epsilon)


def conv(x: Array, kernel: Array, bias: Array) -> Array:
    """Valid cross-correlation of x [C, H, W] with kernel [O, C, h, w]."""
    out_channels, channels, height, width = kernel.shape
    out = np.zeros((out_channels, x.shape[1] - height + 1, x.shape[2] - width + 1))
    for o, r, c in np.ndindex(*out.shape):
        out[o, r, c] = bias[o]
        for i, u, v in np.ndindex(channels, height, width):
            out[o, r, c] += kernel[o, i, u, v] * x[i, r + u, c + v]
    return out


def conv_back(above: Array, kernel: Array, shape: tuple[int, ...]) -> Array:
    """The gradient of `conv` with respect to x, given the one with respect to its result."""
    out = np.zeros(shape)
    for o, r, c in np.ndindex(*above.shape):
        for i, u, v in np.ndindex(*kernel.shape[1:]):
            out[i, r + u, c + v] += kernel[o, i, u, v] * above[o, r, c]
    return out


def relu(x: Array) -> Array:
    return np.where(x > 0, x, 0.0)


def relu_back(above: Array, before: Array, how: str) -> Array:
    """Springenberg et al. 2014, figure 1: R_i is R_(i+1) where f_i > 0 (``"gradient"``), where R_(i+1) > 0
    (``"deconvnet"``), or where both are (``"guided"``), and zero elsewhere."""
    out = np.zeros(above.shape)
    for i in np.ndindex(*above.shape):
        active, positive = before[i] > 0, above[i] > 0
        if {"gradient": active, "deconvnet": positive, "guided": active and positive}[how]:
            out[i] = above[i]
    return out


def convnet_score(parameters: dict[str, Array], x: Array, target: int) -> float:
    """conv, relu, conv, relu, dense on one image [C, H, W]; dense weights are [classes, features]."""
    p = parameters
    hidden = relu(conv(relu(conv(x, p["k1"], p["b1"])), p["k2"], p["b2"]))
    return float(p["w"][target] @ hidden.ravel() + p["b"][target])


def convnet_gradient(parameters: dict[str, Array], x: Array, target: int, how: str = "gradient") -> Array:
    """Back through `convnet_score`, and through its relus as `relu_back` says."""
    p = parameters
    first = conv(x, p["k1"], p["b1"])
    second = conv(relu(first), p["k2"], p["b2"])
    back = relu_back(p["w"][target].reshape(second.shape), second, how)
    back = relu_back(conv_back(back, p["k2"], first.shape), first, how)
    return conv_back(back, p["k1"], x.shape)
