"""Keras models on whichever runtime KERAS_BACKEND names: outputs, layers, and nothing left behind."""

from __future__ import annotations

import gc
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import whence
from whence.core.backend import adapt
from whence.core.model import _stores
from whence.errors import DTypeError, LayerError

RNG = np.random.default_rng(0)
W1, B1, W2, B2 = (RNG.normal(size=shape).astype(np.float32) for shape in ((6, 7), (7,), (7, 4), (4,)))
X = RNG.normal(size=(5, 6)).astype(np.float32)
TARGET = 2


def output(x: np.ndarray) -> np.ndarray:
    """What every model here computes."""
    return np.maximum(x @ W1 + B1, 0) @ W2 + B2


def gradient(x: np.ndarray) -> np.ndarray:
    """Of output[:, TARGET] with respect to x."""
    return ((x @ W1 + B1 > 0) * W2[:, TARGET]) @ W1.T


def sequential() -> keras.Model:
    return keras.Sequential([keras.Input((6,)), layers.Dense(7, name="hidden"), layers.ReLU(name="relu"),
                             layers.Dropout(0.5, name="dropout"), layers.Dense(4, name="head")])  # fmt: skip


def functional() -> keras.Model:
    inputs = keras.Input((6,), name="x")
    hidden = layers.ReLU(name="relu")(layers.Dense(7, name="hidden")(inputs))
    return keras.Model(inputs, layers.Dense(4, name="head")(layers.Dropout(0.5, name="dropout")(hidden)))


class Subclassed(keras.Model):
    """Layers in attributes; the relu is a plain operation; ``call`` knows nothing of ``training``."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = layers.Dense(7, name="hidden"), layers.Dense(4, name="head")
        self(X)

    def call(self, x: Any) -> Any:
        return self.head(keras.ops.relu(self.hidden(x)))


def nested() -> keras.Model:
    x = keras.Input((6,))
    block = keras.Model(x, layers.ReLU(name="relu")(layers.Dense(7, name="hidden")(x)), name="block")
    inputs = keras.Input((6,))
    return keras.Model(inputs, layers.Dense(4, name="head")(block(inputs)))


STYLES: dict[str, Callable[[], keras.Model]] = {
    "sequential": sequential, "functional": functional, "subclassed": Subclassed, "nested": nested,
}  # fmt: skip


def build(style: str) -> keras.Model:
    model = STYLES[style]()
    model.set_weights([W1, B1, W2, B2])
    return model


def hidden_of(style: str) -> str:
    return "block/hidden" if style == "nested" else "hidden"


def tensor(x: np.ndarray) -> Any:
    return keras.ops.convert_to_tensor(x)


def numbers(x: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(x)


def close(found: Any, wanted: np.ndarray, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(numbers(found), wanted, rtol=tolerance, atol=tolerance * np.abs(wanted).max())


@pytest.mark.parametrize("style", STYLES)
def test_output_and_gradient(style: str) -> None:
    model = build(style)
    adapted = adapt(model)
    assert adapted.ops.name == keras.backend.backend()
    close(adapted.run(tensor(X))[0], output(X))
    found = whence.Saliency().explain(model, X, TARGET)
    assert isinstance(found.attributions, np.ndarray)
    close(found.attributions, gradient(X))
    native = whence.Saliency().explain(model, tensor(X), TARGET).attributions
    assert type(native) is type(tensor(X))
    close(native, gradient(X))
    assert found.provenance.versions["keras"] == keras.__version__


@pytest.mark.parametrize("style", STYLES)
def test_taps_and_edits(style: str) -> None:
    model, hidden = adapt(build(style)), hidden_of(style)
    y, tapped = model.run(tensor(X), taps=[hidden, "head"])
    close(y, output(X))
    close(tapped[hidden], X @ W1 + B1)
    close(tapped["head"], output(X))
    edited, after = model.run(tensor(X), edits={hidden: lambda z: z * 0 + 1}, taps=[hidden])
    close(edited, np.ones((5, 7)) @ W2 + B2)
    close(after[hidden], np.ones((5, 7)))


@pytest.mark.parametrize("style", STYLES)
def test_gradient_at_a_layer(style: str) -> None:
    found = whence.Saliency(layer=hidden_of(style)).explain(build(style), X, TARGET).attributions
    close(found, (X @ W1 + B1 > 0) * W2[:, TARGET])


def test_layer_names_are_paths() -> None:
    assert adapt(build("nested")).layers() == ("block", "block/hidden", "block/relu", "head")
    assert adapt(build("sequential")).layers() == ("hidden", "relu", "dropout", "head")
    assert adapt(build("subclassed")).layers() == ("hidden", "head")


def test_reused_layers_are_numbered_and_errors_name_the_layers() -> None:
    inputs, dense = keras.Input((6,)), layers.Dense(6, name="dense")
    model = keras.Model(inputs, layers.Dense(4, name="head")(dense(dense(inputs))))
    adapted = adapt(model)
    _, tapped = adapted.run(tensor(X), taps=["dense:0", "dense:1"])
    close(tapped["dense:0"], numbers(dense(X)))
    close(tapped["dense:1"], numbers(dense(dense(X))))
    for name, expected in [("dense", "dense:0, dense:1"), ("dense:2", "dense:0 to dense:1"), ("dens", "names: dense")]:
        with pytest.raises(LayerError, match=expected):
            adapted.run(tensor(X), taps=[name])
    with pytest.raises(LayerError, match="nearest names: dense"):
        whence.Saliency(layer="denes").explain(model, X, TARGET)


def test_layers_of_shared_blocks_and_lists() -> None:
    class Listed(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = [layers.Dense(6, name=f"block{i}") for i in range(3)]
            self(X)

        def call(self, x: Any) -> Any:
            for block in self.blocks:
                x = block(x)
            return x

    model = Listed()
    assert adapt(model).layers() == ("block0", "block1", "block2")
    _, tapped = adapt(model).run(tensor(X), taps=["block1"])
    close(tapped["block1"], numbers(model.blocks[1](model.blocks[0](X))))


def test_float64_inputs_are_refused_rather_than_rounded() -> None:
    with pytest.raises(DTypeError, match="float64"):
        whence.Saliency().explain(build("functional"), X.astype(np.float64), TARGET)


def test_mixed_precision_takes_inputs_of_the_variables_type() -> None:
    policy = keras.DTypePolicy("mixed_bfloat16")
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4, dtype=policy)])
    found = whence.Saliency().explain(model, X, TARGET).attributions
    assert found.dtype == np.float32
    close(found, np.tile(model.get_weights()[0][:, TARGET], (5, 1)), 1e-2)


@pytest.mark.parametrize("container", [tuple, list, dict])
def test_several_inputs_of_a_functional_model(container: type) -> None:
    a, b = keras.Input((6,), name="a"), keras.Input((6,), name="b")
    y = layers.Dense(4, name="head")(a * b)
    model = keras.Model({"a": a, "b": b} if container is dict else [a, b], y)
    other = X[::-1].copy()
    inputs = {"a": X, "b": other} if container is dict else container((X, other))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found = whence.Saliency().explain(model, inputs, TARGET).attributions
    assert type(found) is container
    first, second = found.values() if container is dict else found
    kernel = model.get_layer("head").get_weights()[0][:, TARGET]
    close(first, other * kernel)
    close(second, X * kernel)


def test_several_arguments_of_a_subclassed_model() -> None:
    class Two(keras.Model):
        def call(self, a: Any, b: Any, training: bool | None = None) -> Any:
            assert training is False
            return a * b + a

    class One(keras.Model):
        def call(self, inputs: Any, training: bool | None = None) -> Any:
            a, b = (inputs["a"], inputs["b"]) if isinstance(inputs, dict) else inputs
            return a * b + a

    for model in (Two(), One()):
        model(X, X, training=False) if isinstance(model, Two) else model((X, X), training=False)
        for inputs in [(X, 2 * X), {"a": X, "b": 2 * X}]:
            found = whence.Saliency().explain(model, inputs, TARGET).attributions
            first, second = found.values() if isinstance(found, dict) else found
            column = np.eye(6)[TARGET]
            close(first, (2 * X + 1) * column)
            close(second, X * column)


def test_outputs_and_keyword_arguments() -> None:
    class Both(keras.Model):
        def call(self, x: Any, power: int = 1) -> dict[str, Any]:
            return {"first": x * 0.0, "second": x**power}

    model = Both()
    model(X)
    found = whence.Saliency().explain(whence.wrap(model, output="second", kwargs={"power": 2}), X, TARGET).attributions
    close(found, 2 * X * np.eye(6)[TARGET])


def test_inference_mode() -> None:
    model = keras.Sequential([keras.Input((6,)), layers.BatchNormalization(name="norm"), layers.Dropout(0.9),
                              layers.GaussianNoise(1.0), layers.Dense(4, name="head")])  # fmt: skip
    before = [w.copy() for w in model.get_weights()]
    close(adapt(model).run(tensor(X))[0], numbers(model(X, training=False)))
    whence.IntegratedGradients().explain(model, X, TARGET).check(1e-3)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_masks_survive_an_edit() -> None:
    """An edited embedding still tells the layers after it which tokens are padding."""
    ids = np.array([[1, 2, 3, 0, 0], [4, 5, 0, 0, 0]], np.int32)

    class Text(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = layers.Embedding(8, 3, mask_zero=True, name="embedding")
            self.lstm, self.head = layers.LSTM(4, name="lstm"), layers.Dense(4, name="head")

        def call(self, ids: Any) -> Any:
            return self.head(self.lstm(self.embedding(ids)))

    if keras.backend.backend() == "jax" and not hasattr(keras.src.backend, "set_keras_mask"):
        pytest.skip("Keras before 3.6 loses masks on JAX arrays, with whence and without")
    model = Text()
    model(ids)
    adapted = adapt(model)
    plain, _ = adapted.run(tensor(ids))
    edited, _ = adapted.run(tensor(ids), edits={"embedding": lambda y: y + 0.0})
    close(plain, numbers(model(ids)))
    close(edited, numbers(plain))
    found = whence.Saliency(layer="embedding").explain(model, ids, TARGET).attributions
    assert np.all(numbers(found)[ids == 0] == 0) and np.any(numbers(found)[ids != 0])


def test_axis_order() -> None:
    for order, channel in (("channels_last", 3), ("channels_first", 1)):
        convolution = layers.Conv2D(3, 1, data_format=order)
        assert adapt(keras.Sequential([keras.Input((6, 6, 6)), convolution])).layout(4).channel == channel


def test_new_weights_are_seen() -> None:
    model = build("functional")
    whence.Saliency().explain(model, X, TARGET)
    model.set_weights([W1, B1, -3 * W2, B2])
    close(whence.Saliency().explain(model, X, TARGET).attributions, -3 * gradient(X))


@pytest.mark.parametrize("style", STYLES)
def test_nothing_is_left_behind(style: str) -> None:
    model, hidden = build(style), hidden_of(style)
    call, own = layers.Layer.__call__, {k: v for k, v in vars(model).items() if not k.startswith("_")}
    trainable = model.trainable

    def fails(_: Any) -> Any:
        raise RuntimeError("in an edit")

    whence.Saliency(layer=hidden).explain(model, X, TARGET)
    with pytest.raises(RuntimeError, match="in an edit"):
        adapt(model).run(tensor(X), edits={hidden: fails})
    with pytest.raises(RuntimeError, match="in an edit"):
        adapt(model).compile(lambda run, x: run(x, edits={hidden: fails})[0], "failing")(tensor(X))
    assert layers.Layer.__call__ is call and model.trainable is trainable
    assert {k: v for k, v in vars(model).items() if not k.startswith("_")} == own
    close(model(X), output(X))


@pytest.mark.parametrize("style", STYLES)
def test_the_cache_dies_with_the_model(style: str) -> None:
    model = build(style)
    whence.Saliency().explain(model, X, TARGET)
    whence.Saliency(layer=hidden_of(style)).explain(model, X, TARGET)
    alive, stores = weakref.ref(model), len(_stores)
    del model
    gc.collect()
    assert alive() is None and len(_stores) < stores


def test_threads() -> None:
    model, other = build("nested"), build("functional")
    at_layer = (X @ W1 + B1 > 0) * W2[:, TARGET]
    failures: list[Any] = []

    def work(i: int) -> None:
        try:
            for _ in range(3):
                close(whence.Saliency().explain(model, X, TARGET).attributions, gradient(X))
                close(whence.Saliency(layer="block/hidden").explain(model, X, TARGET).attributions, at_layer)
                close(whence.Saliency(layer="hidden").explain(other, X, TARGET).attributions, at_layer)
                close(model(X), output(X))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
