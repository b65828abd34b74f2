"""What docs/guide/layers.md says about JAX: names, points of a layer, and the errors where there is no access."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax import Array
from jax.ad_checkpoint import checkpoint_name

import whence
from tests.jax.styles import STYLES, EquinoxNet, LinenNet, images, linen_variables, weights
from whence.errors import LayerError

X = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)


class Add(nnx.Module):
    def __call__(self, a: Array, b: Array) -> Array:
        return a + b


class Inner(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.body = nnx.Sequential(nnx.Linear(3, 4, rngs=rngs), nnx.relu, nnx.Linear(4, 4, rngs=rngs))

    @nnx.jit
    def __call__(self, x: Array) -> Array:
        return self.body(x)


class Net(nnx.Module):
    """A nested sequential in compiled code, a layer called twice, one of two inputs, one that is not called."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.inner, self.add = Inner(rngs), Add()
        self.twice, self.head, self.unused = (nnx.Linear(4, 4, rngs=rngs) for _ in range(3))

    def __call__(self, x: Array) -> Array:
        h = self.inner(x)
        return self.head(self.add(jax.nn.relu(self.twice(h)), self.twice(jnp.tanh(h))))


@pytest.fixture(scope="module")
def net() -> Net:
    net = Net(nnx.Rngs(0))
    net(X)  # compiled before anybody asks for its layers
    return net


def close(found: Any, wanted: Any) -> None:
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_activations_of_nnx_are_those_by_hand(net: Net) -> None:
    first, last = net.inner.body.layers[0], net.inner.body.layers[2]
    h = last(jax.nn.relu(first(X)))
    twice = net.twice(h), net.twice(jnp.tanh(h))
    joined = jax.nn.relu(twice[0]) + twice[1]
    wanted = {
        "inner": h, "inner:in": X, "inner.body.0": first(X), "inner.body.2:in": jax.nn.relu(first(X)),
        "twice:0": twice[0], "twice:in:0": h, "twice:1": twice[1], "twice:in:1": jnp.tanh(h), "add": joined,
        "head:in": joined, "head": net.head(joined),
    }  # fmt: skip
    found = whence.Activations(layers=list(wanted)).explain(net, X).attributions
    for name, value in wanted.items():
        close(found[name], value)
    gradient = whence.Saliency(layer="twice:in:1").explain(net, X, 1).attributions
    close(gradient, jnp.broadcast_to(net.twice.kernel[...] @ net.head.kernel[...][:, 1], (5, 4)))


@pytest.mark.parametrize("style", [s for s in STYLES if "function" not in s and "jitted" not in s])
def test_inputs_of_layers_in_every_style(style: str) -> None:
    params, x = weights(), images()
    hidden = x @ params["hidden"][0] + params["hidden"][1]
    middle = jax.nn.relu(hidden) @ params["middle"][0] + params["middle"][1]
    wanted = {"act:in:0": hidden, "middle:in": jax.nn.relu(hidden), "act:in:1": middle, "act:1": jax.nn.relu(middle)}
    found = whence.Activations(layers=list(wanted)).explain(STYLES[style](), x).attributions
    for name, value in wanted.items():
        close(found[name], value)


class Compact(linen.Module):
    """Names that Linen gives, a sequential inside, a layer called twice."""

    @linen.compact
    def __call__(self, x: Array) -> Array:
        x = linen.Dense(4, name="first")(x)
        x = linen.Sequential([linen.Dense(4), linen.relu, linen.Dense(4)])(x)
        twice = linen.Dense(4, name="twice")
        return twice(jnp.tanh(twice(x)))


def test_names_of_linen() -> None:
    variables = Compact().init(jax.random.key(0), X)
    model = whence.wrap(Compact(), variables=variables)
    names = ["first", "Sequential_0", "twice:0", "twice:in:1"]
    found = whence.Activations(layers=names).explain(model, X).attributions
    close(found["twice:in:1"], jnp.tanh(found["twice:0"]))
    dense = variables["params"]["first"]
    close(found["first"], X @ dense["kernel"] + dense["bias"])
    assert "Sequential_0" in model.layers()


def named(x: Array) -> Array:
    h = checkpoint_name(jnp.tanh(x), "tanh")
    return checkpoint_name(h @ jnp.ones((3, 2)), "sums")


def test_names_of_a_function() -> None:
    model = whence.wrap(named, framework="jax")
    found = whence.Activations(layers=["tanh", "sums"]).explain(model, X).attributions
    close(found["tanh"], jnp.tanh(X))
    close(found["sums"], named(X))
    assert model.layers() == ("tanh", "sums")


class OwnDerivative(nnx.Module):
    """A layer inside a function whose derivative somebody wrote."""

    def __init__(self, kind: str) -> None:
        self.a, self.kind = nnx.Linear(3, 2, rngs=nnx.Rngs(0)), kind

    def __call__(self, x: Array) -> Array:
        call = lambda x: self.a(x)  # noqa: E731
        if self.kind == "vjp":
            f = jax.custom_vjp(call)
            f.defvjp(lambda x: (call(x), x), lambda x, g: (x,))
        else:
            f = jax.custom_jvp(call)
            f.defjvp(lambda xs, ts: (call(*xs), ts[0][:, :2]))
        return f(x)


NOT_CALLED = "never calls it from Python"
UNREACHED: dict[str, tuple[Callable[[], Any], str, str]] = {
    "custom_vjp": (lambda: OwnDerivative("vjp"), "a", NOT_CALLED + ".*derivative of their own"),
    "custom_jvp": (lambda: OwnDerivative("jvp"), "a", NOT_CALLED + ".*derivative of their own"),
    "a layer that is not called": (lambda: Net(nnx.Rngs(0)), "unused", NOT_CALLED),
    "several inputs": (lambda: Net(nnx.Rngs(0)), "add:in", "takes several tensors.*single input"),
    "no activation of its own": (lambda: Net(nnx.Rngs(0)), "head:pre", "activation of its own.*'head', its output"),
    "of two calls": (lambda: Net(nnx.Rngs(0)), "twice:in", "twice:in:0, twice:in:1"),
    "a function without names": (lambda: whence.wrap(jnp.tanh, framework="jax"), "h", "no layers that can be named"),
    "another name": (lambda: whence.wrap(named, framework="jax"), "tan", "nearest names: tanh"),
    "an input of a name": (lambda: whence.wrap(named, framework="jax"), "sums:in", NOT_CALLED),
    "linen": (lambda: whence.wrap(LinenNet(), variables=linen_variables()), "heat", "nearest names: head"),
    "equinox": (EquinoxNet, "heat", "nearest names: head"),
}


@pytest.mark.parametrize("case", UNREACHED)
def test_errors_where_there_is_no_access(case: str) -> None:
    make, name, message = UNREACHED[case]
    model, x = make(), images() if case in ("linen", "equinox") else X
    with pytest.raises(LayerError, match=message):
        whence.Activations(layers=name).explain(model, x)
    with pytest.raises(LayerError, match=message):
        whence.Saliency(layer=name).explain(model, x, 1)
