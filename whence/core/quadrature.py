"""Quadrature of the integral over [0, 1]: nodes and weights that sum to one, in host float64."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from whence.core.errors import ParameterError


def _left(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(n) / n, np.full(n, 1 / n)


def _right(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(1, n + 1) / n, np.full(n, 1 / n)


def _middle(n: int) -> tuple[np.ndarray, np.ndarray]:
    return (np.arange(n) + 0.5) / n, np.full(n, 1 / n)


def _trapezoid(n: int) -> tuple[np.ndarray, np.ndarray]:
    if n < 2:
        raise ParameterError("n_steps of riemann_trapezoid", received=n, valid="at least 2, both ends of the path")
    weights = np.full(n, 1 / (n - 1))
    weights[[0, -1]] /= 2
    return np.linspace(0, 1, n), weights


def _gauss_legendre(n: int) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return (1 + nodes) / 2, weights / 2


RULES = {
    "riemann_left": _left,
    "riemann_right": _right,
    "riemann_middle": _middle,
    "riemann_trapezoid": _trapezoid,
    "gauss_legendre": _gauss_legendre,
}


@lru_cache(maxsize=64)
def nodes_and_weights(rule: str, n_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes ``[n_steps]`` in [0, 1] and weights ``[n_steps]`` of a named rule."""
    nodes, weights = RULES[rule](n_steps)
    nodes.setflags(write=False)
    weights.setflags(write=False)
    return nodes, weights
