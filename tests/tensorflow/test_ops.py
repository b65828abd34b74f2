"""TensorFlow's operations against NumPy's, eagerly and inside a graph."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from whence.backends.numpy.ops import ops as numpy_ops
from whence.backends.tensorflow.ops import ops

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4, 5))
F = X.astype(np.float32)
TIES = np.round(X)
I = RNG.integers(0, 4, (3, 4, 5))  # noqa: E741

CASES: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    *((name, (X,), {}) for name in ("abs", "sign", "exp", "expm1", "tanh", "isfinite")),
    *((name, (X,), {}) for name in ("zeros_like", "ones_like", "stop_gradient")),
    ("sqrt", (abs(X),), {}), ("log", (abs(X),), {}), ("full_like", (X, 0.1), {}), ("full_like", (I, 3), {}),
    ("concat", ([F, F],), {"axis": -1}), ("stack", ([F, F],), {"axis": 1}),
    ("where", (X > 0, X, 0.0), {}), ("where", (X > 0, 0.0, X), {}), ("where", (X > 0, X, -X), {}),
    ("take", (X, np.array([2, 0, 0])), {"axis": 1}),
    ("take_along_axis", (X, np.argsort(X, 1)), {"axis": 1}),
    ("take_along_axis", (X, np.argsort(X, 0)), {"axis": 0}),
    ("take_along_axis", (X, np.argsort(X, -1)[..., :2]), {"axis": -1}),
    ("take_along_axis", (X, np.zeros((1, 2, 1), int)), {"axis": 1}),
    ("broadcast_to", (X[:1], (3, 4, 5)), {}),
    ("pad", (X, [(1, 2), (0, 0), (0, 3)]), {"value": 0.5}), ("pad", (I, [(1, 2), (0, 0), (0, 3)]), {}),
    ("clip", (X, -0.5, 0.5), {}), ("clip", (X, None, 0.5), {}), ("clip", (X,), {"min": 0.1}), ("clip", (I, 0, 1), {}),
    ("maximum", (X, 0.0), {}), ("minimum", (0.0, X), {}), ("maximum", (X, -X), {}),
    *((name, (X,), {"axis": axis, "keepdims": keep}) for name in ("sum", "mean", "max", "min")
      for axis in (None, 0, -1, (0, 2)) for keep in (False, True)),
    *((name, (X > 0.5,), {"axis": axis, "keepdims": True}) for name in ("any", "all") for axis in (None, 1, (0, 2))),
    *(("argmax", (values,), {"axis": axis, "keepdims": keep}) for values in (TIES, I) for axis in (0, -1)
      for keep in (False, True)),
    *(("argsort", (values,), {"axis": axis, "descending": down}) for values in (TIES, I) for axis in (0, 1, -1)
      for down in (False, True)),
    ("cumulative_sum", (X,), {"axis": 1}), ("matmul", (X, RNG.normal(size=(3, 5, 2))), {}),
    ("resize", (X, (7, 9)), {"axes": (1, 2)}), ("resize", (X, (7, 2)), {"axes": (1, 2), "method": "nearest"}),
]  # fmt: skip


def native(value: Any) -> Any:
    if isinstance(value, list) and isinstance(value[0], np.ndarray):
        return [tf.constant(v) for v in value]
    return tf.constant(value) if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("name, args, kwargs", CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_as_numpy(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    wanted = np.asarray(getattr(numpy_ops, name)(*args, **kwargs))
    tensors = [native(a) for a in args]
    eager = getattr(ops, name)(*tensors, **kwargs)
    traced = ops.compile(lambda: getattr(ops, name)(*tensors, **kwargs))()
    for found in (eager, traced):
        assert ops.shape(found) == wanted.shape and found.numpy().dtype.kind == wanted.dtype.kind
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-12 if wanted.dtype == np.float64 else 1e-6)


def test_conversions() -> None:
    double, single = tf.constant(X), tf.constant(F)
    assert float(ops.asarray(0.1, like=double)) == 0.1, "not by way of float32"
    assert ops.dtype(ops.asarray(np.float64(0.1), like=single)) == "float32"
    assert ops.dtype(ops.asarray(np.array([1, 2]), like=single)) == "int64"
    assert ops.dtype(ops.asarray(double, like=single)) == "float32"
    assert ops.dtype(ops.asarray(X)) == "float64"
    half = ops.asarray([0.1], dtype="bfloat16")
    assert ops.dtype(half) == "bfloat16" and ops.to_numpy(half).dtype == np.float32
    assert ops.dtype(ops.astype(half, "float64")) == "float64" and ops.is_floating(half)
    assert ops.is_tensor(tf.Variable(1.0)) and ops.is_tensor(double) and not ops.is_tensor(X)
    assert ops.compile(lambda x: tf.constant(ops.is_tensor(x)))(double)
    assert "CPU" in ops.device(double) or "GPU" in ops.device(double)
    assert ops.free_memory(tf.constant(0.0)) != 0 and ops.matmul_precision(single) in ("float32", "tf32")
    assert ops.is_out_of_memory(tf.errors.ResourceExhaustedError(None, None, ""))
    assert ops.is_out_of_memory(MemoryError()) and not ops.is_out_of_memory(ValueError())


@pytest.mark.parametrize("where", ["eager", "graph"])
def test_vjp(where: str) -> None:
    def both(a: Any, unused: Any) -> tuple[Any, ...]:
        y, pullback = ops.vjp(lambda a, unused: tf.gather(a, [0, 0, 2]) ** 2, a, unused)
        return y, pullback(3 * tf.ones_like(y))

    run = ops.compile(both) if where == "graph" else both
    y, found = run(tf.constant(X), tf.constant(F))
    np.testing.assert_allclose(y, X[[0, 0, 2]] ** 2)
    np.testing.assert_allclose(found[0], 6 * X * np.array([2, 0, 1])[:, None, None])
    assert isinstance(found[0], tf.Tensor) and found[1].shape == F.shape and not np.any(found[1])


def test_vjp_does_not_differentiate_towards_parameters() -> None:
    weights = tf.Variable(2.0, dtype=tf.float64)
    reached = []

    @tf.custom_gradient
    def times(w: Any) -> Any:
        def gradient(g: Any, variables: Any = None) -> Any:
            reached.append(g)
            return g

        return tf.identity(w), gradient

    def gradient(x: Any) -> Any:
        y, pullback = ops.vjp(lambda x: x * times(weights), x)
        return pullback(tf.ones_like(y))[0]

    for run in (gradient, ops.compile(gradient)):
        np.testing.assert_allclose(run(tf.constant(X)), 2 * np.ones_like(X))
    assert not reached


@pytest.mark.parametrize("where", ["eager", "graph", "loop", "branch"])
def test_custom_vjp(where: str) -> None:
    tenfold = ops.custom_vjp(lambda x: (x * x, {"x": [x], "none": None}), lambda kept, g: (10 * g * kept["x"][0],))

    def f(x: Any) -> Any:
        if where == "loop":
            return tf.while_loop(lambda i, _: i < 1, lambda i, x: (i + 1, tenfold(x)), (0, x))[1]
        return tf.cond(x[0, 0, 0] < 100, lambda: tenfold(x), lambda: x) if where == "branch" else tenfold(x)

    def both(x: Any) -> Any:
        y, pullback = ops.vjp(lambda x: f(x) + x, x)
        return y, pullback(tf.ones_like(y))[0]

    y, g = (both if where == "eager" else ops.compile(both))(tf.constant(X))
    np.testing.assert_allclose(y, X * X + X)
    np.testing.assert_allclose(g, 10 * X + 1)


def test_custom_vjp_under_a_tape_outside() -> None:
    tenfold = ops.compile(ops.custom_vjp(lambda x: (x * x, x), lambda x, g: (10 * g * x,)))
    x = tf.constant(X)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tenfold(x)
    np.testing.assert_allclose(tape.gradient(y, x), 10 * X)


def test_custom_vjp_leaves_no_graph_behind() -> None:
    graphs = []

    def forward(x: Any) -> Any:
        graphs.append(weakref.ref(tf.compat.v1.get_default_graph()))
        return x * x, x

    ops.compile(ops.custom_vjp(forward, lambda x, g: (g * x,)))(tf.constant(X))
    gc.collect()
    assert [graph() for graph in graphs] == [None]
