"""JAX models as users have them: run, taps and edits, compiled once, nothing left behind."""

from __future__ import annotations

import gc
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax import Array

import whence
from tests.jax.styles import (
    LAYERS,
    STYLES,
    EquinoxNet,
    LinenNet,
    NnxNet,
    forward,
    images,
    linen_variables,
    put,
    weights,
)
from whence.backends.jax.model import _held
from whence.core.model import _stores
from whence.errors import DTypeError, LayerError, ParameterError, TrainingModeWarning

by_style = pytest.mark.parametrize("style", STYLES)


def relative(a: Any, b: Any) -> float:
    return float(np.abs(np.asarray(a) - np.asarray(b)).max() / np.abs(np.asarray(b)).max())


def value(params: Any, x: Array, change: Callable[[str, Array], Array]) -> Array:
    """The network by hand, with a change of each layer's output."""
    h = change("hidden", x @ params["hidden"][0] + params["hidden"][1])
    h = change("act:0", jax.nn.relu(h))
    h = change("middle", h @ params["middle"][0] + params["middle"][1])
    h = change("act:1", jax.nn.relu(h))
    return change("head", h @ params["head"][0] + params["head"][1])


@by_style
def test_run_taps_and_edits(style: str) -> None:
    model, x, params = STYLES[style](), images(), weights()
    assert relative(model.run(x)[0], forward(params, x)) < 1e-6
    met: dict[str, Array] = {}
    value(params, x, lambda name, y: met.setdefault(name, y))
    output, tapped = model.run(x, taps=["hidden", "act:0", "act:1", "head"])
    assert relative(output, met["head"]) < 1e-6
    assert all(relative(tapped[name], met[name]) < 1e-6 for name in tapped)
    assert set(model.layers()) >= set(LAYERS), "names are known, at the latest now"
    rows = jnp.arange(4.0)[:, None]
    for layer in ("hidden", "act:1"):
        edited, seen = model.run(x, edits={layer: lambda y: y * 0.5 + rows}, taps=[layer])
        wanted = value(params, x, lambda name, y, layer=layer: y * 0.5 + rows if name == layer else y)
        assert relative(edited, wanted) < 1e-6 and relative(seen[layer], met[layer] * 0.5 + rows) < 1e-6


@by_style
def test_layer_errors(style: str) -> None:
    model, x = STYLES[style](), images()
    with pytest.raises(LayerError, match="act:0, act:1"):
        model.run(x, taps=["act"])
    with pytest.raises(LayerError, match="act:0 to act:1"):
        model.run(x, edits={"act:2": lambda y: y})
    with pytest.raises(LayerError, match="nearest names: hidden"):
        model.run(x, taps=["hiden"])


@by_style
def test_gradient_through_an_edit(style: str) -> None:
    model, x, params = STYLES[style](), images(), weights()

    def of_offset(run: Any, offset: Array) -> Array:
        return run(x, edits={"act:0": lambda y: y + offset})[0][:, 2].sum()

    wanted = jax.grad(lambda o: value(params, x, lambda n, y: y + o if n == "act:0" else y)[:, 2].sum())(
        jnp.zeros((4, 5))
    )
    assert relative(jax.grad(lambda o: of_offset(model.run, o))(jnp.zeros((4, 5))), wanted) < 1e-6, "eager"
    compiled = model.compile(lambda run, o: jax.grad(lambda o: of_offset(run, o))(o), "leaf")
    assert relative(compiled(jnp.zeros((4, 5))), wanted) < 1e-6, "compiled"


@by_style
def test_end_to_end(style: str) -> None:
    model, x = STYLES[style](), images()
    wanted = jax.grad(lambda x: forward(weights(), x)[:, 1].sum())(x)
    found = whence.Saliency().explain(model, x, 1)
    assert isinstance(found.attributions, jax.Array) and relative(found.attributions, wanted) < 1e-6
    assert isinstance(whence.Saliency().explain(model, np.asarray(x), 1).attributions, np.ndarray)
    at_layer = whence.Saliency(layer="act:1").explain(model, x, 1).attributions
    assert relative(at_layer, jnp.broadcast_to(weights()["head"][0][:, 1], (4, 5))) < 1e-6
    ig = whence.IntegratedGradients(n_steps=200).explain(model, x, 1)
    assert float(abs(ig.delta).max()) < 5e-2


@by_style
def test_compiled_once(style: str) -> None:
    model, x = STYLES[style](), images()
    traces: list[int] = []

    def leaf(run: Any, x: Array) -> Array:
        traces.append(1)
        return run(x)[0]

    for _ in range(3):
        assert relative(model.compile(leaf, "leaf")(x), forward(weights(), x)) < 1e-5
    assert len(traces) == 1
    assert model.compile(leaf, "leaf")(images(2)).shape == (2, 3) and len(traces) == 2


def test_changed_parameters_are_seen_without_compiling() -> None:
    net, x, traces = NnxNet(), images(), []

    def leaf(run: Any, x: Array) -> Array:
        traces.append(1)
        return run(x)[0]

    before = whence.wrap(net).compile(leaf, "leaf")
    model = whence.wrap(net)
    first = model.compile(leaf, "leaf")(x)
    put(net.head.bias, net.head.bias + 1)
    assert relative(model.compile(leaf, "leaf")(x), first + 1) < 1e-6 and len(traces) == 1
    net.extra = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
    assert relative(model.compile(leaf, "leaf")(x), first + 1) < 1e-6 and len(traces) == 2, "another structure"
    assert relative(before(x), first + 1) < 1e-6


SCALE = 1.0


@by_style
def test_a_model_is_read_once_per_explanation(style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = STYLES[style](), images()
    adapter, read = type(model), type(model).read_state
    whence.IntegratedGradients(n_steps=4).explain(model, x, 0, batch_size=2)
    times: list[int] = []
    monkeypatch.setattr(adapter, "read_state", lambda self: times.append(1) or read(self))
    whence.IntegratedGradients(n_steps=4).explain(model, x, 0, batch_size=2)
    assert len(times) == 1
    with pytest.raises(LayerError):
        whence.Saliency(layer="no such layer").explain(model, x, 0)
    assert len(times) == 2 and not _held.states, "the next explanation reads the model anew"


def test_what_a_function_reads_is_not_remembered() -> None:
    params = weights()

    def closure(x: Array) -> Array:
        return forward(params, x)

    def of_global(x: Array) -> Array:
        return jax.vmap(lambda row: row * SCALE)(x)

    def array(x: Array) -> Array:
        return x * kept

    x, kept = images(), np.ones(6, np.float32)
    first = whence.Saliency().explain(closure, x, 1).attributions
    params["head"] = (params["head"][0] * 2, params["head"][1])
    assert relative(whence.Saliency().explain(closure, x, 1).attributions, 2 * first) < 1e-6
    assert float(whence.Saliency().explain(of_global, x, 1).attributions[0, 1]) == 1
    globals()["SCALE"] = 3.0
    assert float(whence.Saliency().explain(of_global, x, 1).attributions[0, 1]) == 3
    assert float(whence.Saliency().explain(array, x, 1).attributions[0, 1]) == 1
    kept[:] = 4
    assert float(whence.Saliency().explain(array, x, 1).attributions[0, 1]) == 4


@pytest.mark.parametrize(
    "make", [NnxNet, EquinoxNet, lambda: LinenNet().bind(linen_variables()), lambda: jax.jit(lambda x: x)]
)
def test_the_cache_dies_with_the_model(make: Callable[[], Any]) -> None:
    net = make()
    whence.Saliency().explain(net, images(), 1)
    whence.wrap(net)
    alive, key = weakref.ref(net), id(net)
    assert key in _stores
    del net
    gc.collect()
    assert alive() is None and key not in _stores


class Regularised(nnx.Module):
    """Dropout and batch statistics, in training mode as they are made."""

    def __init__(self) -> None:
        self.norm = nnx.BatchNorm(6, rngs=nnx.Rngs(0))
        self.blocks = nnx.Sequential(nnx.Linear(6, 6, rngs=nnx.Rngs(1)), nnx.relu, nnx.Dropout(0.5, rngs=nnx.Rngs(2)))
        self.calls = nnx.Variable(jnp.zeros(()))

    def __call__(self, x: Array) -> Array:
        put(self.calls, self.calls + 1)
        return self.blocks(self.norm(x))


def test_training_mode_is_said_and_nothing_changes() -> None:
    net, x = Regularised(), images()
    before = jax.tree.leaves(nnx.state(net))
    reference = nnx.clone(net)
    reference.eval()
    with pytest.warns(TrainingModeWarning, match="BatchNorm, Dropout"):
        found = whence.Saliency().explain(net, x, 2).attributions
    wanted = jax.grad(lambda x: reference.blocks(reference.norm(x))[:, 2].sum())(x)
    assert relative(found, wanted) < 1e-6
    assert whence.wrap(net).layers() == ("blocks", "blocks.0", "blocks.2", "norm")
    whence.wrap(net).run(x, taps=["blocks.0"])
    assert net.norm.use_running_average is False and net.blocks.layers[2].deterministic is False
    assert type(net.blocks.layers[0]) is nnx.Linear and "whence_listener" not in vars(net.blocks.layers[0])
    assert all(a is b for a, b in zip(before, jax.tree.leaves(nnx.state(net)), strict=True))
    net.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error", TrainingModeWarning)
        whence.Saliency().explain(net, x, 2)


def test_equinox_in_training_mode_and_its_axes() -> None:
    class Net(equinox.Module):
        conv: equinox.nn.Conv2d
        dropout: equinox.nn.Dropout
        token: equinox.nn.Linear

        def __call__(self, x: Array) -> Array:
            features = self.conv(x).reshape(4, -1)
            mixed = jax.vmap(self.token, in_axes=1, out_axes=1)(features)
            return self.dropout(mixed).sum(axis=1)

    keys = jax.random.split(jax.random.key(0))
    net = Net(equinox.nn.Conv2d(2, 4, 3, key=keys[0]), equinox.nn.Dropout(0.5), equinox.nn.Linear(4, 3, key=keys[1]))
    x = jax.random.normal(jax.random.key(1), (5, 2, 6, 6))
    with pytest.warns(TrainingModeWarning, match="Dropout"):
        found = whence.Saliency().explain(net, x, 1).attributions
    inference = jax.vmap(equinox.nn.inference_mode(net))
    assert relative(found, jax.grad(lambda x: inference(x)[:, 1].sum())(x)) < 1e-6
    assert net.dropout.inference is False
    model = whence.wrap(net)
    assert model.default_layout == "NCHW" and model.layers() == ("conv", "dropout", "token")
    assert model.run(x, taps=["token"])[1]["token"].shape == (5, 16, 3), "the batch first, then the inner axis"
    whole = whence.wrap(lambda x: inference(x), framework="jax").run(x)[0]
    assert relative(whence.wrap(inference, framework="jax").run(x)[0], whole) == 0
    assert relative(whence.wrap(equinox.nn.inference_mode(net), per_sample=True).run(x)[0], whole) < 1e-6


class LinenBlock(linen.Module):
    @linen.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
        x = linen.BatchNorm(use_running_average=not train, name="norm")(x)
        return linen.relu(linen.Dense(3, name="dense")(x))


class LinenOuter(linen.Module):
    @linen.compact
    def __call__(self, x: Array, train: bool = True) -> Array:
        return LinenBlock(name="block")(x, train)


def test_linen_with_statistics_and_options() -> None:
    net, x = LinenOuter(), images()
    variables = net.init(jax.random.key(0), x)
    model = whence.wrap(net, variables=variables, kwargs={"train": False})
    assert relative(model.run(x)[0], net.apply(variables, x, train=False)) == 0
    assert set(model.layers()) == {"block", "block.norm", "block.dense"}
    assert model.run(x, taps=["block.dense"])[1]["block.dense"].shape == (4, 3)
    with pytest.raises(ParameterError, match="variables"):
        whence.Saliency().explain(net, x, 1)


def test_layers_inside_compiled_code_and_loops() -> None:
    from jax.ad_checkpoint import checkpoint_name

    @jax.jit
    def net(x: Array) -> Array:
        def turn(carry: Array, _: None) -> tuple[Array, None]:
            return checkpoint_name(jnp.tanh(carry), "turn"), None

        h = jax.checkpoint(lambda x: checkpoint_name(jnp.sin(x), "sine"))(x)
        return jax.lax.scan(turn, h, None, length=3)[0]

    x = images()
    net(x)  # compiled before anybody asks for its layers
    model = whence.wrap(net)
    assert relative(model.run(x, taps=["sine"])[1]["sine"], jnp.sin(x)) < 1e-6
    tapped = model.run(x, taps=["turn:0", "turn:2"])[1]
    assert relative(tapped["turn:2"], jnp.tanh(jnp.tanh(tapped["turn:0"]))) < 1e-6
    with pytest.raises(LayerError, match="turn:0, turn:1, turn:2"):
        model.run(x, taps=["turn"])


def test_layers_inside_a_function_with_its_own_derivative() -> None:
    from jax.ad_checkpoint import checkpoint_name

    @jax.custom_vjp
    def inside(x: Array) -> Array:
        return checkpoint_name(jnp.sin(x), "sine") * 2

    inside.defvjp(lambda x: (inside(x), x), lambda x, g: (7 * g,))
    model, x = whence.wrap(lambda x: checkpoint_name(inside(x), "after"), framework="jax"), images()
    assert float(whence.Saliency(neuron=("after", 1)).explain(model, x).attributions[0, 1]) == 7
    with pytest.raises(LayerError, match="sine"):
        model.run(x, taps=["sine"])


def test_threads_do_not_meet() -> None:
    net, x, found = NnxNet(), images(), {}

    def explain(target: int) -> None:
        found[target] = whence.Saliency(layer="middle").explain(net, x, target).attributions

    threads = [threading.Thread(target=explain, args=(target,)) for target in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for target in range(3):
        wanted = whence.Saliency(layer="middle").explain(net, x, target).attributions
        assert relative(found[target], wanted) == 0


@pytest.mark.skipif(jax.config.jax_enable_x64, reason="JAX has float64 here")
def test_float64_is_never_made_float32_silently() -> None:
    with pytest.raises(DTypeError, match="jax_enable_x64"):
        whence.Saliency().explain(NnxNet(), np.zeros((2, 6)), 1)
    with pytest.raises(DTypeError, match="32 bits"):
        whence.wrap(NnxNet()).place(np.array([2**40]))
    assert whence.wrap(NnxNet()).place(np.arange(3)).dtype == jnp.int32
