"""Backward rules on JAX operations, proven with guided ReLU in every spelling of relu."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array

import whence
from tests.jax.styles import STYLES, NnxNet, images, weights
from whence.core.rule import RuleSet, kind_is
from whence.errors import CoverageError
from whence.methods.rules import GUIDED_RELU


def relative(a: Any, b: Any) -> float:
    return float(np.abs(np.asarray(a) - np.asarray(b)).max() / np.abs(np.asarray(b)).max())


def by_hand(x: Array, target: int) -> Array:
    """Guided backprop written out: both masks at each relu."""
    params = weights()
    h1 = x @ params["hidden"][0] + params["hidden"][1]
    h2 = jax.nn.relu(h1) @ params["middle"][0] + params["middle"][1]
    g = jnp.broadcast_to(params["head"][0][:, target], h2.shape)
    g = (jnp.maximum(g, 0) * (h2 > 0)) @ params["middle"][0].T
    return (jnp.maximum(g, 0) * (h1 > 0)) @ params["hidden"][0].T


@pytest.mark.parametrize("style", STYLES)
def test_guided_relu_in_every_style(style: str) -> None:
    model, x = STYLES[style]().intercept(GUIDED_RELU), images()
    for _ in range(2):
        found = whence.Saliency().explain(model, x, 1)
        assert relative(found.attributions, by_hand(x, 1)) < 1e-5
        assert found.provenance.coverage["ruled"] == {"relu": 2}, "on the second call as on the first"
        assert found.provenance.coverage["plain"]["dot_general"] == 3
    assert relative(whence.Saliency().explain(model.base, x, 1).attributions, by_hand(x, 1)) > 1e-2, (
        "the plain gradient"
    )


SPELLINGS: dict[str, Callable[[Array], Array]] = {
    "jax.nn": jax.nn.relu,
    "maximum": lambda x: jnp.maximum(x, 0),
    "maximum of zeros": lambda x: jnp.maximum(jnp.zeros_like(x), x),
    "maximum of a constant": lambda x: jnp.maximum(x, np.zeros(5, np.float32)),
    "clip": lambda x: jnp.clip(x, 0),
    "jitted": jax.jit(lambda x: jnp.maximum(x, 0.0)),
    "recomputed": jax.checkpoint(jax.nn.relu),
    "mapped": jax.vmap(jax.nn.relu),
    "branch": lambda x: jax.lax.cond(x.sum() < jnp.inf, jax.nn.relu, lambda x: x, x),
    "loop": lambda x: jax.lax.scan(lambda c, _: (jax.nn.relu(c), None), x, None, length=1)[0],
    "turns": lambda x: jax.lax.fori_loop(0, 1, lambda _, c: jax.nn.relu(c), x),
}


def network(act: Callable[[Array], Array]) -> Callable[[Array], Array]:
    params = weights()

    def net(x: Array) -> Array:
        for name in ("hidden", "middle"):
            x = act(x @ params[name][0] + params[name][1])
        return x @ params["head"][0] + params["head"][1]

    return net


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_guided_relu_in_every_spelling(spelling: str) -> None:
    model, x = whence.wrap(network(SPELLINGS[spelling]), framework="jax").intercept(GUIDED_RELU), images()
    found = whence.Saliency().explain(model, x, 1)
    assert relative(found.attributions, by_hand(x, 1)) < 1e-5
    assert sum(found.provenance.coverage["ruled"].values()) == 2


def doubled_gradient(x: Array) -> Array:
    """An identity with a derivative of its own, which no rule may lose."""

    @jax.custom_vjp
    def identity(x: Array) -> Array:
        return x * 1

    identity.defvjp(lambda x: (x, None), lambda _, g: (2 * g,))
    return identity(x)


@pytest.mark.parametrize("act", [jnp.tanh, jax.nn.relu6, jax.nn.gelu, lambda x: jnp.clip(x, 0, 6), doubled_gradient])
def test_models_without_a_relu_raise(act: Callable[[Array], Array]) -> None:
    model = whence.wrap(network(act), framework="jax").intercept(GUIDED_RELU)
    for _ in range(2):
        with pytest.raises(CoverageError, match="none applies"):
            whence.Saliency().explain(model, images(), 1)
    assert model.run(images())[0].shape == (4, 3), "no derivative, no error"


def test_what_escapes_raises() -> None:
    def solved(x: Array) -> Array:
        # a linear solver holds the code of its operator, which cannot be replaced inside it
        return jax.lax.custom_linear_solve(lambda v: 2 * v + jax.nn.relu(x), x, lambda _, b: b / 2, symmetric=True)

    with pytest.raises(CoverageError, match="escaped, inside custom_linear_solve"):
        model = whence.wrap(network(lambda x: solved(jax.nn.relu(x))), framework="jax").intercept(GUIDED_RELU)
        whence.Saliency().explain(model, images(), 1)


def test_other_operations_keep_their_derivative() -> None:
    x = images()
    for act in (jnp.tanh, jax.nn.relu6, jax.nn.gelu, jax.nn.softplus, doubled_gradient, jax.nn.softmax, jnp.sort):
        net = network(lambda x, act=act: act(jax.nn.relu(x) + x))
        same = RuleSet("own derivative", ((kind_is("relu"), lambda ops, op, g: op.vjp(op.inputs, g)),))
        found = whence.Saliency().explain(whence.wrap(net, framework="jax").intercept(same), x, 1).attributions
        assert relative(found, jax.grad(lambda x, net=net: net(x)[:, 1].sum())(x)) < 1e-5


def test_every_operation_can_have_a_rule() -> None:
    # all kinds at once, through a loop and a branch: each with its own derivative gives the plain gradient
    every = RuleSet("own derivative", ((lambda op: True, lambda ops, op, g: op.vjp(op.inputs, g)),))

    def net(x: Array) -> Array:
        h = jax.lax.scan(lambda c, w: (jnp.tanh(c @ w), c.sum()), x, jnp.ones((3, 6, 6)) * 0.1)[0]
        h = jnp.where(h > 0, h, jnp.exp(h)) + jax.nn.softmax(h) * jax.nn.relu(x)
        return jnp.concatenate([h, h.max(axis=1, keepdims=True)], axis=1)

    x = images()
    found = whence.Saliency().explain(whence.wrap(net, framework="jax").intercept(every), x, 6).attributions
    assert relative(found, jax.grad(lambda x: net(x)[:, 6].sum())(x)) < 1e-5


def test_layers_of_an_intercepted_model() -> None:
    model, x, params = whence.wrap(NnxNet()).intercept(GUIDED_RELU), images(), weights()
    at_layer = whence.Saliency(layer="hidden").explain(model, x, 1)
    assert relative(at_layer.attributions @ params["hidden"][0].T, by_hand(x, 1)) < 1e-5
    assert whence.Saliency(layer="middle").explain(model, x, 1).provenance.coverage["ruled"] == {"relu": 1}
    assert model.run(x, taps=["act:0"])[1]["act:0"].shape == (4, 5)
    with pytest.raises(CoverageError):
        whence.Saliency(layer="act:1").explain(model, x, 1)


def test_inside_jit_and_outside() -> None:
    model, x = whence.wrap(NnxNet()).intercept(GUIDED_RELU), images()

    def score(x: Array) -> Array:
        return model.run(x)[0][:, 1].sum()

    for transformed in (jax.grad(score), jax.jit(jax.grad(score)), jax.grad(jax.jit(score))):
        assert relative(transformed(x), by_hand(x, 1)) < 1e-5


def test_half_precision_and_integers() -> None:
    def net(x: Array, ids: Array) -> Array:
        return jnp.maximum(x, 0) * jnp.take(jnp.arange(5, dtype=x.dtype), ids)[:, None]

    x, ids = images().astype(jnp.bfloat16), jnp.array([0, 1, 2, 4])
    model = whence.wrap(net, framework="jax").intercept(GUIDED_RELU)
    found = whence.Saliency().explain(model, (x, ids), 1).attributions[0]
    assert found.dtype == jnp.bfloat16 and jnp.array_equal(found[:, 1], (x[:, 1] > 0) * ids)


def test_the_users_module_keeps_its_class() -> None:
    net = NnxNet()
    whence.Saliency(layer="hidden").explain(whence.wrap(net).intercept(GUIDED_RELU), images(), 1)
    assert type(net) is NnxNet and type(net.hidden) is nnx.Linear
