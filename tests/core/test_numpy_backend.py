"""The NumPy backend: the reference of all others, so its own oracle is plain Python; black boxes of any kind."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import whence
from tests.core.methods import Ablation
from whence.backends.numpy import backend, ops
from whence.errors import (
    BackendError,
    CapabilityError,
    DTypeError,
    LayerError,
    NonFiniteError,
    ParameterError,
    ShapeError,
)
from whence.testing import Check, backend_checks

X = np.random.default_rng(0).standard_normal((40, 5))
Y = (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(int) + (X[:, 3] > 1)


@pytest.mark.parametrize("check", [*backend_checks(backend)], ids=str)
def test_conformance(check: Check) -> None:
    check()


@pytest.mark.parametrize("descending", [False, True])
def test_argsort_is_stable_both_ways(descending: bool) -> None:
    values = np.round(np.random.default_rng(0).standard_normal((6, 200)))
    wanted = [sorted(range(200), key=lambda i, row=row: -row[i] if descending else row[i]) for row in values]
    assert ops.argsort(values, axis=1, descending=descending).tolist() == wanted
    assert ops.argsort(values.T, axis=0, descending=descending).T.tolist() == wanted


def test_argmax_takes_the_first_of_equals() -> None:
    assert ops.argmax(np.array([[1, 3, 3], [2, 2, 2]]), axis=1).tolist() == [1, 0]


ESTIMATORS = {
    "classifier": (LogisticRegression(), "predict_proba"),
    "forest": (RandomForestClassifier(5, random_state=0), "predict_proba"),
    "margin": (SVC(), "decision_function"),
    "pipeline": (make_pipeline(StandardScaler(), LogisticRegression()), "predict_proba"),
    "ridge": (RidgeClassifier(), "decision_function"),
    "regressor": (LinearRegression(), "predict"),
}


@pytest.fixture(params=ESTIMATORS)
def fitted(request):
    estimator, method = ESTIMATORS[request.param]
    return estimator.fit(X, Y), method


def test_estimators_are_explained(fitted) -> None:
    estimator, method = fitted
    wanted = getattr(estimator, method)(X)
    e = Ablation().explain(estimator, X)
    assert np.allclose(e.score, wanted if wanted.ndim == 1 else wanted.max(1))
    without = X.copy()
    without[:, 2] = 0
    changed = getattr(estimator, method)(without)
    at = wanted.argmax(1) if wanted.ndim > 1 else None
    drop = wanted - changed if at is None else (wanted - changed)[np.arange(40), at]
    assert np.allclose(e.attributions[:, 2], drop)
    assert e.provenance.backend == "numpy" and type(estimator).__name__ in e.provenance.model


def test_another_output_of_an_estimator() -> None:
    estimator = LogisticRegression().fit(X, Y)
    e = Ablation().explain(whence.wrap(estimator, output="decision_function"), X, 1)
    assert np.allclose(e.score, estimator.decision_function(X)[:, 1])
    labels = Ablation().explain(whence.wrap(estimator, output="predict"), X)
    assert labels.score.dtype == np.float64 and np.array_equal(labels.score, estimator.predict(X))
    with pytest.raises(CapabilityError, match="decision_function, predict"):
        svc = SVC().fit(X, Y)
        Ablation().explain(whence.wrap(svc, output="predict_proba"), X)


GRADIENT_METHODS = whence.methods()


@pytest.mark.parametrize("name", GRADIENT_METHODS)
def test_gradient_methods_name_what_would_work(name: str, fitted) -> None:
    from whence.core.registry import method_class

    made = method_class(name)
    if not made.needs_gradient and not made.needs_layers:
        pytest.skip("takes black boxes")
    asked = {"layer_conductance": {"layer": "any"}, "internal_influence": {"layer": "any"},
             "activations": {"layers": ["any"]}}.get(name, {})  # fmt: skip
    for model in (fitted[0], lambda x: x @ np.ones((5, 2))):
        with pytest.raises(CapabilityError, match="a black box") as caught:
            whence.explain(model, X, name, **asked)
        assert "black box" in str(caught.value) and name in str(caught.value)


def test_not_a_model() -> None:
    for thing in (3, "model", None, [1]):
        with pytest.raises(BackendError, match="or a callable"):
            Ablation().explain(thing, X)


def test_not_a_tensor() -> None:
    for thing in ("image.png", 3, None, {1, 2}):
        with pytest.raises(BackendError, match=r"Received: builtins\."):
            Ablation().explain(lambda x: x, thing)


def test_unknown_framework() -> None:
    with pytest.raises(BackendError, match="torch, jax, tensorflow, numpy"):
        whence.wrap(lambda x: x, framework="mxnet")


def model(x: np.ndarray) -> np.ndarray:
    return np.tanh(x[:, :3])


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: Ablation().explain(model, X[:0]), ShapeError, "empty batch"),
    (lambda: Ablation().explain(model, np.array(1.0)), ShapeError, "without axes"),
    (lambda: Ablation().explain(model, X.astype(int)), DTypeError, "floating-point inputs"),
    (lambda: Ablation().explain(model, X > 0), DTypeError, "bool"),
    (lambda: Ablation().explain(model, X, batch_size=0), ParameterError, "batch_size"),
    (lambda: Ablation().explain(model, X, batch_size=True), ParameterError, "batch_size"),
    (lambda: Ablation().explain(model, np.where(X > 2, np.nan, X)), NonFiniteError, "NaN or infinity in sample"),
    (lambda: Ablation().explain(lambda x: np.where(x > 1, np.inf, x), X, 0), NonFiniteError, "the model's score"),
    (lambda: Ablation().explain(lambda x: x[:-1], X), ShapeError, "one row per sample"),
    (lambda: Ablation().explain(lambda x: {"a": x}, X), ShapeError, r"keys \['a'\]"),
    (lambda: Ablation().explain(lambda x: None, X), ShapeError, "NoneType"),
    (lambda: Ablation(layer="conv1").explain(model, X), LayerError, "'conv1'"),
    (lambda: Ablation(neuron=("conv1", 3)).explain(model, X), LayerError, "'conv1'"),
    (lambda: Ablation(neuron=("conv1", 3)).explain(model, X, 1), ParameterError, "target together with neuron"),
    (lambda: Ablation(repeats=0), ParameterError, "repeats"),
    (lambda: whence.explain(model, X, "gradcam"), ParameterError, "integrated_gradients"),
    (lambda: whence.explain(model, X, layout="HWC"), TypeError, "layout"),
    (lambda: whence.wrap(model, layout="HWC").layout(4), ParameterError, "NHWC"),
])  # fmt: skip
def test_bad_input(call, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


def test_a_black_box_that_mixes_samples() -> None:
    with pytest.warns(whence.errors.BatchMixingWarning, match="depends on the other samples"):
        Ablation().explain(lambda x: x - x.mean(0), X, 0)


def test_progress_counts_the_rows(capsys: pytest.CaptureFixture[str]) -> None:
    Ablation().explain(model, X[:4], 0, progress=True)
    assert "plain_ablation" in capsys.readouterr().err


def test_a_black_box_that_writes_on_its_input() -> None:
    def writing(x: np.ndarray) -> np.ndarray:
        x *= 2
        return x

    x = X[:4].copy()
    found = Ablation().explain(writing, x, 0)
    assert np.array_equal(x, X[:4]) and np.allclose(found.score, 2 * X[:4, 0])
    assert np.allclose(found.attributions[:, 0], 2 * X[:4, 0]) and not found.attributions[:, 1:].any()
