"""Backward rules on TensorFlow operations: every spelling is met, nothing else changes, nothing is left behind."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from whence.backends.tensorflow.ops import ops
from whence.core.backend import adapt
from whence.core.layers import Put
from whence.core.model import Model
from whence.core.ops import Ops, Tensor
from whence.core.rule import Coverage, OpCall, RuleSet, kind_is
from whence.errors import CapabilityError, CoverageError

RNG = np.random.default_rng(0)
W = [RNG.normal(size=shape).astype(np.float32) for shape in ((6, 7), (7, 8), (8, 3))]
X = RNG.normal(size=(5, 6)).astype(np.float32)


def guided(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> list[Tensor | None]:
    return [None if g is None else ops.maximum(g, 0.0) for g in op.vjp(op.inputs, cotangents)]


GUIDED = RuleSet("guided", ((kind_is("relu"), guided),))
COUNTED = RuleSet("counted", ((lambda op: True, lambda ops, op, g: op.vjp(op.inputs, g)),))
"""Every operation under a rule that is its own derivative."""


def by_formula(x: np.ndarray) -> np.ndarray:
    """Guided backprop of the sum of the outputs, layer by layer."""
    z1 = x @ W[0]
    z2 = np.maximum(z1, 0) @ W[1]
    g = np.ones((len(x), 3)) @ W[2].T
    g = np.maximum(g * (z2 > 0), 0) @ W[1].T
    return np.maximum(g * (z1 > 0), 0) @ W[0].T


def gradient_leaf(run: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    y, pullback = ops.vjp(lambda x: run(x)[0], x)
    return y, pullback(tf.ones_like(y))[0]


def gradient(model: Model, x: Any) -> tuple[np.ndarray, np.ndarray, Coverage | None]:
    y, g = model.compile(gradient_leaf, "gradient")(tf.convert_to_tensor(x))
    return y.numpy(), g.numpy(), model.coverage


def dense(relu: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    weights = [tf.Variable(w) for w in W]
    return lambda x: relu(relu(x @ weights[0]) @ weights[1]) @ weights[2]


def keras_net(relu: Callable[[Any], Any] | None, activation: str | None = None) -> keras.Model:
    h = inputs = keras.Input((6,))
    for i, w in enumerate(W):
        layer = keras.layers.Dense(w.shape[1], use_bias=False, activation=activation if i < 2 else None)
        h = layer(h)
        layer.set_weights([w])
        h = relu(h) if relu is not None and i < 2 else h
    return keras.Model(inputs, h)


def looped(x: Tensor) -> Tensor:
    """The first relu in a loop, the second in a branch."""
    h = tf.while_loop(lambda i, h: i < 1, lambda i, h: (i + 1, tf.nn.relu(h)), (0, x @ W[0]))[1]
    return tf.cond(tf.size(h) > 0, lambda: tf.nn.relu(h @ W[1]), lambda: h @ W[1]) @ W[2]


SPELLINGS: dict[str, Callable[[], Any]] = {
    "tf.nn.relu": lambda: dense(tf.nn.relu),
    "maximum with zero": lambda: dense(lambda z: tf.maximum(z, 0.0)),
    "maximum of zero": lambda: dense(lambda z: tf.maximum(0.0, z)),
    "nested tf.function": lambda: dense(tf.function(tf.nn.relu)),
    "tf.function": lambda: tf.function(dense(tf.nn.relu)),
    "jit_compile": lambda: tf.function(dense(tf.nn.relu), jit_compile=True),
    "recompute_grad": lambda: dense(tf.recompute_grad(tf.nn.relu)),
    "loop and branch": lambda: looped,
    "keras.ops.relu": lambda: keras_net(keras.ops.relu),
    "a Keras layer used twice": lambda: keras_net(keras.layers.ReLU()),
    "activation='relu'": lambda: keras_net(None, "relu"),
    "Activation layers": lambda: keras_net(lambda z: keras.layers.Activation("relu")(z)),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_guided_relu_in_every_spelling(spelling: str) -> None:
    model = SPELLINGS[spelling]()
    adapted = adapt(model, example=tf.constant(X)).intercept(GUIDED)
    y, found, coverage = gradient(adapted, X)
    np.testing.assert_allclose(y, model(tf.constant(X)), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found, by_formula(X), rtol=1e-5, atol=1e-5)
    assert coverage is not None and sum(coverage.ruled.values()) == 2 and coverage.plain["MatMul"] >= 3
    again = adapt(model, example=tf.constant(X)).intercept(GUIDED)
    assert gradient(again, X)[2] == coverage, "known on a call that finds everything compiled"


@pytest.mark.parametrize("make", [lambda: dense(tf.function(tf.nn.relu)), lambda: looped])
def test_the_users_function_keeps_its_gradient(make: Callable[[], Any]) -> None:
    model = tf.function(make())
    x = tf.constant(X)

    def own() -> np.ndarray:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = model(x)
        return tape.gradient(y, x).numpy()

    before = own()
    operations = len(model.get_concrete_function(x).graph.get_operations())
    found = gradient(adapt(model).intercept(GUIDED), X)[1]
    np.testing.assert_allclose(found, by_formula(X), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(own(), before)
    assert len(model.get_concrete_function(x).graph.get_operations()) == operations
    assert np.abs(before - by_formula(X)).max() > 1, "the test could not tell the two apart"


EXOTIC: dict[str, Callable[[], Any]] = {
    "LSTM": lambda: keras.layers.LSTM(4),
    "GRU": lambda: keras.layers.GRU(4, return_sequences=True),
    "SimpleRNN": lambda: keras.layers.SimpleRNN(4),
    "LayerNormalization": lambda: keras.layers.LayerNormalization(),
    "Bidirectional": lambda: keras.layers.Bidirectional(keras.layers.LSTM(3)),
    "Conv1D": lambda: keras.layers.Conv1D(4, 2),
    "MaxPooling1D": lambda: keras.layers.MaxPooling1D(2),
    **{
        name: lambda name=name: keras.layers.Activation(name)
        for name in ("silu", "gelu", "softmax", "mish", "selu", "hard_silu", "glu")
        if hasattr(keras.activations, name)  # older releases have fewer
    },
}


@pytest.mark.parametrize("layer", EXOTIC)
def test_other_operations_keep_their_own_derivative(layer: str) -> None:
    inputs = keras.Input((5, 6))
    made = EXOTIC[layer]()
    model = keras.Model(inputs, made(inputs) ** 2)
    x = RNG.normal(size=(2, 5, 6)).astype(np.float32)
    y, found, coverage = gradient(adapt(model).intercept(COUNTED), x)
    own_y, own, _ = gradient(adapt(model), x)
    np.testing.assert_allclose(y, own_y, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found, own, rtol=1e-5, atol=1e-5 * np.abs(own).max())
    assert coverage is not None and coverage.ruled and all("TensorList" in name for name in coverage.plain)


def test_kinds_and_parts_of_an_operation() -> None:
    seen: list[OpCall] = []

    def look(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Sequence[Tensor | None]:
        seen.append(op)
        doubled = op.call(*op.inputs)
        assert len(doubled) == len(op.outputs) == len(cotangents) == 1
        return op.vjp(op.inputs, cotangents)

    def model(x: Tensor) -> Tensor:
        h = tf.nn.relu6(tf.nn.bias_add(x @ W[0], tf.ones(7)))
        return tf.nn.softmax(tf.maximum(h, 0.5) * h + h * tf.reverse(h, [1]) + tf.math.xlog1py(h, 2.0))

    gradient(adapt(model, example=tf.constant(X)).intercept(RuleSet("look", ((lambda op: True, look),))), X)
    kinds = {op.name: (op.kind, op.data) for op in seen}
    assert kinds == {
        "MatMul": ("affine", (0,)), "Relu6": ("elementwise", (0,)),
        "Softmax": ("softmax", (0,)),
        "ReverseV2": ("linear", (0,)), "Mul": ("mul", (0, 1)), "Xlog1py": ("opaque", (0,)),
        "AddV2": ("linear", (0, 1)), "Identity": ("linear", (0,)),
    }  # fmt: skip


def test_rules_begin_at_a_layer() -> None:
    model = keras_net(keras.layers.ReLU(name="relu"))
    first = model.layers[1].name

    def leaf(run: Any, inputs: Tensor, z: Tensor) -> Tensor:
        y, pullback = ops.vjp(lambda z: run(inputs, edits={first: Put(z)})[0], z)
        return pullback(tf.ones_like(y))[0]

    intercepted = adapt(model).intercept(GUIDED)
    z1 = X @ W[0]
    found = intercepted.compile(leaf, "layer")(tf.constant(X), tf.constant(z1))
    g = np.maximum((np.ones((5, 3)) @ W[2].T) * (np.maximum(z1, 0) @ W[1] > 0), 0) @ W[1].T
    np.testing.assert_allclose(found, np.maximum(g * (z1 > 0), 0), rtol=1e-5, atol=1e-5)
    assert intercepted.coverage is not None and intercepted.coverage.ruled == {"Relu": 2}
    assert intercepted.coverage.plain["MatMul"] == 2, "what comes before the layer is not on the path"
    _, tapped = intercepted.run(tf.constant(X), taps=["relu:1"])
    np.testing.assert_allclose(tapped["relu:1"], np.maximum(np.maximum(z1, 0) @ W[1], 0), rtol=1e-4, atol=1e-4)


def test_weights_are_seen_and_freed() -> None:
    model = keras_net(keras.layers.ReLU())
    intercepted = adapt(model).intercept(GUIDED)
    gradient(intercepted, X)
    last = model.layers[-1]
    last.set_weights([3 * W[2]])
    np.testing.assert_allclose(gradient(intercepted, X)[1], 3 * by_formula(X), rtol=1e-5, atol=1e-5)
    dead = weakref.ref(model)
    del model, intercepted, last
    gc.collect()
    assert dead() is None


def test_graphs_are_freed() -> None:
    graphs: list[weakref.ref[Any]] = []
    network = dense(tf.nn.relu)

    def model(x: Tensor) -> Tensor:
        graphs.append(weakref.ref(tf.compat.v1.get_default_graph()))
        return network(x)

    gradient(adapt(model, example=tf.constant(X)).intercept(GUIDED), X)
    del model
    gc.collect()
    assert graphs and all(graph() is None for graph in graphs)


def test_what_is_refused() -> None:
    x = tf.constant(X)
    with pytest.raises(CoverageError, match="MatMul"):
        gradient(adapt(lambda x: x @ W[0], example=x).intercept(GUIDED), X)

    def needs_values(x: Tensor) -> Tensor:
        return tf.nn.relu(x) * float(x.numpy().max())

    with pytest.raises(CapabilityError, match="cannot be traced"):
        gradient(adapt(needs_values, example=x).intercept(GUIDED), X)
