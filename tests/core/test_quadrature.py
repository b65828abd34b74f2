"""Quadrature rules: weights that sum to one, and the polynomials each integrates exactly."""

from __future__ import annotations

import numpy as np
import pytest

import whence
from whence.core.quadrature import RULES, nodes_and_weights
from whence.errors import ParameterError


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("n", [2, 3, 7, 50, 333])
def test_weights_sum_to_one_and_nodes_lie_on_the_path(rule: str, n: int) -> None:
    nodes, weights = nodes_and_weights(rule, n)
    assert nodes.dtype == weights.dtype == np.float64 and nodes.shape == weights.shape == (n,)
    assert abs(weights.sum() - 1) < 1e-14 and (weights > 0).all()
    assert nodes[0] >= 0 and nodes[-1] <= 1 and (np.diff(nodes) > 0).all()


# highest degree of polynomial that n nodes integrate exactly
DEGREE = {
    "riemann_left": lambda n: 0,
    "riemann_right": lambda n: 0,
    "riemann_middle": lambda n: 1,
    "riemann_trapezoid": lambda n: 1,
    "gauss_legendre": lambda n: 2 * n - 1,
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_degree_of_exactness(rule: str, n: int) -> None:
    nodes, weights = nodes_and_weights(rule, n)
    exact = DEGREE[rule](n)
    for degree in range(exact + 1):
        assert abs(weights @ nodes**degree - 1 / (degree + 1)) < 1e-13
    assert abs(weights @ nodes ** (exact + 1) - 1 / (exact + 2)) > 1e-11, "no rule is better than it can be"


@pytest.mark.parametrize(("rule", "order"), [("riemann_left", 1), ("riemann_right", 1), ("riemann_middle", 2),
                                             ("riemann_trapezoid", 2)])  # fmt: skip
def test_order_of_convergence(rule: str, order: int) -> None:
    def error(n: int) -> float:
        nodes, weights = nodes_and_weights(rule, n)
        return abs(weights @ np.exp(nodes) - (np.e - 1))

    assert np.log2(error(200) / error(400)) == pytest.approx(order, abs=0.05)


def test_the_end_points() -> None:
    assert nodes_and_weights("riemann_left", 4)[0].tolist() == [0, 0.25, 0.5, 0.75]
    assert nodes_and_weights("riemann_right", 4)[0].tolist() == [0.25, 0.5, 0.75, 1]
    assert nodes_and_weights("riemann_middle", 4)[0].tolist() == [0.125, 0.375, 0.625, 0.875]
    assert nodes_and_weights("riemann_trapezoid", 3)[1].tolist() == [0.25, 0.5, 0.25]


def test_one_step() -> None:
    for rule in set(RULES) - {"riemann_trapezoid"}:
        nodes, weights = nodes_and_weights(rule, 1)
        assert weights.tolist() == [1.0] and nodes[0] in (0, 0.5, 1)
    with pytest.raises(ParameterError, match="at least 2"):
        whence.IntegratedGradients(rule="riemann_trapezoid", n_steps=1)


def test_shared_arrays_cannot_be_written() -> None:
    for array in nodes_and_weights("gauss_legendre", 5):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
