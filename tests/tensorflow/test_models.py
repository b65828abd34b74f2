"""TensorFlow models as users have them: run, layers, caching, and nothing left behind."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import whence
from whence.backends.tensorflow.patches import _patches
from whence.core.backend import adapt
from whence.core.model import _stores
from whence.errors import BackendError, DTypeError, LayerError

TARGET = 3


class Conv(tf.Module):
    """A convolution that creates its weights where it is made."""

    def __init__(self, inputs: int, outputs: int, name: str | None = None) -> None:
        super().__init__(name)
        self.weights = tf.Variable(tf.random.stateless_normal((3, 3, inputs, outputs), (1, outputs)) / 4)

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.conv2d(x, self.weights, 1, "VALID")


class Relu(tf.Module):
    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(x)


class Net(tf.Module):
    """Two convolutions in a list, one relu used twice, a head in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = [Conv(3, 4), Conv(4, 5)]
        self._relu = Relu()
        self.parts = {"head": Conv(5, 6)}
        self.executions = 0

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        self.executions += 1
        for block in self.blocks:
            x = self._relu(block(x))
        return tf.reduce_mean(self.parts["head"](x), (1, 2))


class TracedNet(Net):
    """The same with its call as a ``tf.function``."""

    @tf.function
    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return super().__call__(x)


def keras_net() -> keras.Model:
    image = keras.Input((8, 8, 3))
    relu = keras.layers.ReLU(name="relu")
    x = relu(keras.layers.Conv2D(4, 3, name="conv1")(image))
    x = relu(keras.layers.Conv2D(5, 3, name="conv2")(x))
    return keras.Model(image, keras.layers.Dense(6, name="head")(keras.layers.Flatten(name="flatten")(x)))


@pytest.fixture
def x() -> tf.Tensor:
    return tf.random.stateless_normal((4, 8, 8, 3), (0, 0))


def by_tape(f: Callable[..., tf.Tensor], x: tf.Tensor, target: int = TARGET) -> np.ndarray:
    with tf.GradientTape() as tape:
        tape.watch(x)
        score = f(x)[:, target]
    return tape.gradient(score, x).numpy()


def saliency(model: Any, x: tf.Tensor, **fields: Any) -> np.ndarray:
    return whence.Saliency(**fields).explain(model, x, TARGET).attributions.numpy()


def assert_close(found: Any, wanted: Any, tolerance: float = 1e-6) -> None:
    assert np.abs(wanted).max() > 0
    assert np.abs(np.asarray(found) - np.asarray(wanted)).max() <= tolerance * np.abs(wanted).max()


def styles(folder: Path) -> dict[str, Callable[[], Any]]:
    """One function in every guise; those that need it are made when asked for."""
    net = Net()
    exported = tf.function(net.__call__, input_signature=[tf.TensorSpec((None, 8, 8, 3))])

    def saved() -> Any:
        tf.saved_model.save(net, str(folder), signatures=exported.get_concrete_function())
        return tf.saved_model.load(str(folder))

    def saved_whole() -> Any:
        traced = TracedNet()
        for mine, theirs in zip(traced.variables, net.variables, strict=True):
            mine.assign(theirs)
        traced(tf.zeros((4, 8, 8, 3)))
        tf.saved_model.save(traced, str(folder))
        return tf.saved_model.load(str(folder))

    def signature() -> Any:
        keep.append(saved())
        return keep[0].signatures["serving_default"]

    keep: list[Any] = []
    return {
        "module": lambda: net,
        "function": lambda: lambda x: net(x),
        "method": lambda: net.__call__,
        "tf.function": lambda: tf.function(net),
        "jit": lambda: tf.function(net, jit_compile=True),
        "input signature": lambda: exported,
        "concrete function": lambda: tf.function(net).get_concrete_function(tf.TensorSpec((4, 8, 8, 3))),
        "saved model": saved,
        "saved model with a call": saved_whole,
        "signature": signature,
        "net": lambda: net,
    }


@pytest.mark.parametrize("style", [s for s in styles(Path()) if s != "net"])
def test_styles(style: str, x: tf.Tensor, tmp_path: Path) -> None:
    made = styles(tmp_path)
    model, net = made[style](), made["net"]()
    adapted = adapt(model, example=x)
    assert adapted.ops.name == "tensorflow"
    assert_close(adapted.run(x)[0], net(x))
    assert_close(saliency(model, x), by_tape(net, x))
    if style != "module":
        assert adapted.layers() == () and adapted.layout(4).channel is None
        with pytest.raises(LayerError, match="no layers"):
            saliency(model, x, layer="blocks.0")


def test_signature_takes_inputs_by_name(tmp_path: Path) -> None:
    class Two(tf.Module):
        def __init__(self) -> None:
            self.weight = tf.Variable(3.0)

        @tf.function(input_signature=[tf.TensorSpec((None, 3), name="b"), tf.TensorSpec((None, 3), name="a")])
        def serve(self, b: tf.Tensor, a: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"product": a * b, "sum": self.weight * a + b**2}

    two = Two()
    tf.saved_model.save(two, str(tmp_path), signatures=two.serve)
    loaded = tf.saved_model.load(str(tmp_path))
    signature = loaded.signatures["serving_default"]
    a, b = tf.constant([[1.0, 2.0, 3.0]]), tf.constant([[4.0, 5.0, 6.0]])
    found = whence.Saliency().explain(whence.wrap(signature, output="sum"), {"b": b, "a": a}, 1).attributions
    assert_close(found["b"], [[0.0, 10.0, 0.0]])
    assert_close(found["a"], [[0.0, 3.0, 0.0]])
    with pytest.raises(BackendError, match="a dict with the keys a, b"):
        whence.Saliency().explain(whence.wrap(signature, output="sum"), (a, b), 1)
    del loaded
    gc.collect()
    with pytest.raises(BackendError, match="is kept"):
        whence.Saliency().explain(whence.wrap(signature, output="sum"), {"b": b, "a": a}, 1)


def test_numpy_in_gives_numpy_out_and_float64_stays() -> None:
    weights = np.random.default_rng(0).normal(size=(5, 4))
    model = whence.wrap(lambda x: tf.matmul(tf.tanh(x), weights), framework="tensorflow")
    x = np.random.default_rng(1).normal(size=(3, 5))
    found = whence.Saliency().explain(model, x, 2).attributions
    assert isinstance(found, np.ndarray) and found.dtype == np.float64
    assert_close(found, (1 - np.tanh(x) ** 2) * weights[:, 2], 1e-14)


# -- layers of a tf.Module -----------------------------------------------------------------------------------
@pytest.mark.parametrize("make", [Net, TracedNet])
def test_module_layers(make: type[Net], x: tf.Tensor) -> None:
    net = make()
    model = adapt(net)
    net(x)  # a finished trace must not hide the layers
    assert model.layers() == ("blocks.0", "blocks.1", "_relu", "parts.head")
    assert model.layout(4).channel == 3
    output, tapped = model.run(x, taps=["blocks.1", "_relu:0"])
    assert_close(output, net(x))
    assert_close(tapped["_relu:0"], tf.nn.relu(net.blocks[0](x)))
    edited, _ = model.run(x, edits={"blocks.0": tf.zeros_like})
    assert np.all(edited.numpy() == 0)
    activation = net.blocks[1](net._relu(net.blocks[0](x)))
    tail = lambda z: tf.reduce_mean(net.parts["head"](net._relu(z)), (1, 2))  # noqa: E731
    assert_close(saliency(net, x, layer="blocks.1"), by_tape(tail, activation))
    with pytest.raises(LayerError, match="_relu:0, _relu:1"):
        model.run(x, taps=["_relu"])
    with pytest.raises(LayerError, match=r"nearest names: parts\.head"):
        model.run(x, taps=["parts.heads"])
    assert "__call__" in vars(make) and "tensorflow.patches" not in getattr(make.__call__, "__module__", "")


def test_module_with_keras_layers_inside() -> None:
    class Mixed(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(5)
            self.dense.build((None, 3))

        def __call__(self, x: tf.Tensor) -> tf.Tensor:
            return self.dense(x) ** 2

    mixed, x = Mixed(), tf.random.stateless_normal((4, 3), (0, 1))
    assert adapt(mixed).layers() == ("dense",)
    assert_close(saliency(mixed, x, layer="dense"), 2 * mixed.dense(x).numpy() * np.eye(5)[TARGET])
    assert "__call__" not in vars(keras.layers.Dense)


def test_super_call_counts_once(x: tf.Tensor) -> None:
    class Scaled(Conv):
        def __call__(self, x: tf.Tensor) -> tf.Tensor:
            return 2.0 * super().__call__(x)

    class Both(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scaled, self.plain = Scaled(3, 4), Conv(4, 5)

        def __call__(self, x: tf.Tensor) -> tf.Tensor:
            return tf.reduce_mean(self.plain(self.scaled(x)), (1, 2))

    both = Both()
    _, tapped = adapt(both).run(x, taps=["scaled", "plain"])
    assert_close(tapped["scaled"], both.scaled(x))
    assert "__call__" in vars(Scaled) and Scaled.__mro__[1] is Conv


def test_nothing_is_left_after_an_exception(x: tf.Tensor) -> None:
    class Inherits(Net):
        pass

    net = Inherits()
    before = {cls: cls.__call__ for cls in (Net, Inherits, Conv, Relu)}
    attributes = {key: value for key, value in vars(net).items() if key != "executions"}

    def fails(_: tf.Tensor) -> tf.Tensor:
        raise RuntimeError("in an edit")

    for compiled in (False, True):
        with pytest.raises(RuntimeError, match="in an edit"):
            if compiled:
                adapt(net).compile(lambda run, x: run(x, edits={"blocks.0": fails})[0], "failing")(x)
            else:
                adapt(net).run(x, edits={"blocks.0": fails})
        assert all(cls.__call__ is call for cls, call in before.items())
        assert "__call__" not in vars(Inherits)
        assert {key: value for key, value in vars(net).items() if key != "executions"} == attributes


# -- caching -------------------------------------------------------------------------------------------------
def test_traced_once_and_sees_new_weights(x: tf.Tensor) -> None:
    net = Net()
    first = saliency(net, x)
    executions = net.executions
    assert executions > 0
    assert np.array_equal(saliency(net, x), first) and net.executions == executions
    assert_close(saliency(net, x + 0.5), by_tape(net, x + 0.5))
    net.executions = executions
    net.parts["head"].weights.assign(-2 * net.parts["head"].weights)
    assert_close(saliency(net, x), -2 * first)
    assert net.executions == executions
    whence.IntegratedGradients().explain(net, x, TARGET)
    executions = net.executions
    whence.IntegratedGradients().explain(net, x, TARGET)
    assert net.executions == executions


def test_no_warning_for_many_shapes(x: tf.Tensor, caplog: pytest.LogCaptureFixture) -> None:
    net = Net()
    for rows in range(1, 9):
        saliency(net, tf.repeat(x[:1], rows, axis=0))
    assert not caplog.records


@pytest.mark.parametrize("make", [Net, keras_net, lambda: tf.function(Net())])  # TensorFlow itself keeps a TracedNet
def test_the_cache_dies_with_the_model(make: Callable[[], Any], x: tf.Tensor) -> None:
    model = make()
    if isinstance(model, tf.types.experimental.GenericFunction):
        saliency(model, x)
    else:
        layer = adapt(model).layers()[0]
        saliency(model, x, layer=layer)
        whence.IntegratedGradients().explain(model, x, TARGET)
    alive, stores = weakref.ref(model), len(_stores)
    del model
    gc.collect()
    assert alive() is None and len(_stores) < stores


@pytest.mark.parametrize("make", [Net, TracedNet, keras_net])
def test_threads(make: Callable[[], Any], x: tf.Tensor) -> None:
    model = make()
    layer = adapt(model).layers()[0]
    # a wrapped model has a cache of its own
    wanted, wanted_layer = by_tape(model, x), saliency(whence.wrap(model), x, layer=layer)
    found: list[Any] = []

    def work(i: int) -> None:
        for _ in range(3):
            found.append((saliency(model, x), wanted) if i % 2 else (saliency(model, x, layer=layer), wanted_layer))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 24
    for got, want in found:
        assert_close(got, want)
    assert not _patches


# -- models that cannot be traced ------------------------------------------------------------------------------
class NeedsValues(Net):
    """Python decides on values, which no graph has."""

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        scale = 2.0 if float(tf.reduce_max(x).numpy()) > 0 else 1.0
        return scale * super().__call__(x)


class Branches(Net):
    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return super().__call__(x) if tf.reduce_max(x) > 0 else super().__call__(-x)


@pytest.mark.parametrize("make", [NeedsValues, Branches])
def test_models_that_need_values_run_eagerly(make: type[Net], x: tf.Tensor) -> None:
    net = make()
    assert_close(saliency(net, x), by_tape(net, x))
    executions = net.executions
    saliency(net, x)
    assert net.executions > executions
    assert saliency(net, x, layer="blocks.0").shape == (4, 6, 6, 4)
    found = whence.IntegratedGradients(n_steps=64).explain(net, x, TARGET)
    assert found.attributions.shape == x.shape


def test_an_error_of_the_model_is_its_own(x: tf.Tensor) -> None:
    class Fails(tf.Module):
        def __call__(self, x: tf.Tensor) -> tf.Tensor:
            raise ZeroDivisionError("the user's")

    with pytest.raises(ZeroDivisionError, match="the user's"):
        saliency(Fails(), x)


def test_shapes_known_only_with_values() -> None:
    @tf.function(input_signature=[tf.TensorSpec(None)])
    def model(x: tf.Tensor) -> tf.Tensor:
        return tf.reshape(x, (tf.shape(x)[0], -1)) ** 2

    x = tf.random.stateless_normal((3, 2, 2), (0, 1))
    assert_close(saliency(model, x), by_tape(model, x))


# -- Keras where TensorFlow matters --------------------------------------------------------------------------
@pytest.mark.parametrize("style", ["__call__", "tf.function", "export", "saved"])
def test_keras_in_other_guises(style: str, x: tf.Tensor, tmp_path: Path) -> None:
    model = keras_net()
    if style == "export":
        model.export(str(tmp_path))
    elif style == "saved":
        tf.saved_model.save(model, str(tmp_path))
    made = {"__call__": lambda: model.__call__, "tf.function": lambda: tf.function(model)}
    guise = made[style]() if style in made else tf.saved_model.load(str(tmp_path))
    assert_close(saliency(guise, x), by_tape(model, x))


def test_keras_call_as_tf_function_shows_its_layers(x: tf.Tensor) -> None:
    class Traced(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = keras.layers.Conv2D(4, 3, name="conv"), keras.layers.Dense(6, name="head")
            self.conv.build((None, 8, 8, 3))
            self.head.build((None, 4))

        @tf.function
        def call(self, x: tf.Tensor) -> tf.Tensor:
            return self.head(tf.reduce_mean(tf.nn.relu(self.conv(x)), (1, 2)))

    model = Traced()
    own = vars(Traced)["call"]
    model(x)
    assert_close(saliency(model, x), by_tape(model, x))
    tail = lambda z: model.head(tf.reduce_mean(tf.nn.relu(z), (1, 2)))  # noqa: E731
    assert_close(saliency(model, x, layer="conv"), by_tape(tail, model.conv(x)))
    assert vars(Traced)["call"] is own


def test_element_types(x: tf.Tensor) -> None:
    with pytest.raises(DTypeError, match="float64"):
        saliency(keras_net(), tf.cast(x, tf.float64))
    with pytest.raises(DTypeError, match="float64"):
        saliency(Net(), tf.cast(x, tf.float64))
    ids = tf.constant([[1, 2], [0, 3]])
    text = keras.Sequential([keras.Input((2,), dtype="int32"), keras.layers.Embedding(5, 3), keras.layers.Flatten(),
                             keras.layers.Dense(4)])  # fmt: skip
    assert saliency(text, ids, layer=text.layers[0].name).shape == (2, 2, 3)


def test_whence_inside_a_tf_function(x: tf.Tensor) -> None:
    """The pieces stay traceable: a user may compile a computation that differentiates through the model."""
    net = Net()
    model = adapt(net)

    @tf.function
    def penalty(x: tf.Tensor) -> tf.Tensor:
        score, pullback = model.ops.vjp(lambda x: model.run(x)[0][:, TARGET], x)
        return tf.reduce_sum(pullback(tf.ones_like(score))[0] ** 2)

    assert_close(penalty(x), (by_tape(net, x) ** 2).sum())
