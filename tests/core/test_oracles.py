"""The oracles themselves: hand-derived gradients against finite differences, rules against known integrals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests import oracle_models, oracles
from tests.oracles import Array

TARGET = 1
RULES = ["riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid", "gauss_legendre"]


def differences(score: Callable[[Array], float], x: Array, step: float = 1e-6) -> Array:
    out = np.zeros(x.shape)
    for i in np.ndindex(*x.shape):
        move = np.zeros(x.shape)
        move[i] = step
        out[i] = (score(x + move) - score(x - move)) / (2 * step)
    return out


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_hand_gradients_of_the_mlp(activation: str) -> None:
    net = oracle_models.mlp(activation)
    for x in oracle_models.inputs():
        close(net.gradient(x, TARGET), differences(lambda v: net.score(v, TARGET), x))
        before, hidden = net.before(x), net.hidden(x)
        close(net.gradient_at_before(before, TARGET), differences(lambda v: net.score_from_before(v, TARGET), before))
        close(net.gradient_at_hidden(hidden, TARGET), differences(lambda v: net.score_from_hidden(v, TARGET), hidden))
        for neuron in range(len(hidden)):
            close(net.neuron_gradient(x, neuron), differences(lambda v, j=neuron: net.hidden(v)[j], x))


def test_hand_gradient_of_the_convnet() -> None:
    parameters = oracle_models.convnet()
    for x in oracle_models.images():
        measured = differences(lambda v: oracles.convnet_score(parameters, v, TARGET), x)
        close(oracles.convnet_gradient(parameters, x, TARGET), measured)
        guided = oracles.convnet_gradient(parameters, x, TARGET, "guided")
        deconvnet = oracles.convnet_gradient(parameters, x, TARGET, "deconvnet")
        assert np.abs(guided - measured).max() > 1e-3  # the rules do something on this net
        assert np.abs(deconvnet - guided).max() > 1e-3


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("n", [2, 5, 20])
def test_rules(name: str, n: int) -> None:
    points, weights = oracles.rule(name, n)
    assert abs(sum(weights) - 1) < 1e-14
    if name == "gauss_legendre":  # exact for polynomials up to degree 2 n - 1, and NumPy's own
        nodes, own = np.polynomial.legendre.leggauss(n)
        np.testing.assert_allclose(points, (nodes + 1) / 2, rtol=0, atol=1e-14)
        np.testing.assert_allclose(weights, own / 2, rtol=0, atol=1e-14)
        moments = [sum(w * p**d for p, w in zip(points, weights, strict=True)) for d in range(2 * n)]
        np.testing.assert_allclose(moments, [1 / (d + 1) for d in range(2 * n)], rtol=1e-12)


def test_integrated_gradients_is_complete() -> None:
    net, x, baseline = oracle_models.mlp("tanh"), oracle_models.inputs(), oracle_models.baselines()
    attribution = oracles.integrated_gradients(lambda v: net.gradient(v, TARGET), x, baseline, 2000)
    gap = oracles.completeness_gap(lambda v: net.score(v, TARGET), attribution, x, baseline)
    assert np.abs(gap).max() < 1e-6


def close(mine: Array, measured: Array) -> None:
    np.testing.assert_allclose(mine, measured, rtol=0, atol=1e-8)
