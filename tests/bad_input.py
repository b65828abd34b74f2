"""What users get wrong, in every framework: one clear error or warning each, and the model left as it was.

A framework's test file subclasses ``BadInput`` and fills in the little models.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import whence
from whence.core.backend import backend_named
from whence.errors import (
    BackendError,
    BaselineError,
    BatchMixingWarning,
    CapabilityError,
    DTypeError,
    LayerError,
    NonFiniteError,
    ParameterError,
    ShapeError,
    TargetError,
    TrainingModeWarning,
    ZeroAttributionWarning,
)

FEATURES, CLASSES = 6, 3
X = np.random.default_rng(5).standard_normal((4, FEATURES)).astype(np.float32)
METHODS = {
    "saliency": whence.Saliency(),
    "integrated gradients": whence.IntegratedGradients(n_steps=3),
    "smooth grad": whence.SmoothGrad(n_samples=3),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


class Foreign:
    """A tensor of a framework that whence does not know, with what every framework's tensors offer."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __dlpack__(self, **options: Any) -> Any:
        return self.values.__dlpack__(**options)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.values if dtype is None else self.values.astype(dtype)


class BadInput(ABC):
    """The tests; ``framework`` names the backend, the methods make models of ``[B, 6]`` with 3 outputs."""

    framework: str
    layer: str
    casts_silently = False
    """Whether the framework computes with float64 inputs and float32 parameters without complaint."""
    interrupted_at: tuple[int, ...] = (1, 2, 3, 5)
    """Forward calls from Python that are interrupted; each costs a compilation where there is one."""
    shape_words = "5"
    """What the framework's own error says of inputs with five features."""

    @abstractmethod
    def net(self, on_call: Callable[[], None] = lambda: None) -> Any:
        """affine, relu, affine of a framework's own kind, in inference mode; ``on_call`` is called in the forward."""

    @abstractmethod
    def in_training(self) -> Any:
        """The net with dropout, in training mode; None where a model has no such mode."""

    @abstractmethod
    def state(self, model: Any) -> Any:
        """Everything about a model that may not change: parameters, flags, modes, hooks."""

    @property
    def ops(self) -> Any:
        return backend_named(self.framework).ops

    def tensor(self, array: np.ndarray = X) -> Any:
        return self.ops.asarray(array)

    def function(self) -> Callable[[Any], Any]:
        """A plain function, smooth."""
        weights = self.tensor(np.random.default_rng(6).standard_normal((FEATURES, CLASSES)).astype(np.float32))
        return lambda x: self.ops.tanh(self.ops.matmul(x, weights))

    def refused(self, error: type[Exception], words: str, call: Callable[[Any], Any]) -> None:
        """The call on the net raises, and leaves the net as it was and usable."""
        net = self.net()
        before = self.state(net)
        with pytest.raises(error, match=words):
            call(net)
        assert self.state(net) == before
        assert whence.Saliency().explain(net, self.tensor(), 0).attributions.shape == X.shape

    # -- targets --------------------------------------------------------------------------------------------
    @every_method
    @pytest.mark.parametrize(("target", "words"), [
        pytest.param(3, "target 3 of sample 0.*from 0 to 2", id="above"),
        pytest.param(-1, "target -1 of sample 0.*from 0 to 2", id="below"),
        pytest.param([0, 1, 7, 0], "target 7 of sample 2.*from 0 to 2", id="one of them"),
        pytest.param("cat", "'cat'", id="text"),
        pytest.param(0.5, "0.5", id="a fraction"),
        pytest.param([0, 1], "2 targets for 4 samples", id="too few"),
        pytest.param((1, 2), "2 indices.*from 0 to 2", id="a tuple"),
        pytest.param(lambda out: out, "callable's score", id="a callable of the wrong shape"),
        pytest.param(lambda out: 1.0, "callable's score.*float", id="a callable that gives no tensor"),
    ])  # fmt: skip
    def test_targets(self, method: whence.Method, target: Any, words: str) -> None:
        self.refused(TargetError, words, lambda net: method.explain(net, self.tensor(), target))

    def test_target_beside_a_neuron(self) -> None:
        method = whence.Saliency(neuron=(self.layer, 2))
        self.refused(ParameterError, "one of the two", lambda net: method.explain(net, self.tensor(), 1))

    # -- layers ----------------------------------------------------------------------------------------------
    def test_layers(self) -> None:
        method = whence.Saliency(layer=self.layer[:-1])
        self.refused(LayerError, f"nearest names: .*{self.layer}", lambda net: method.explain(net, self.tensor(), 0))
        outside = whence.Saliency(neuron=(self.layer, 99))
        self.refused(LayerError, "indices below", lambda net: outside.explain(net, self.tensor()))
        plane = whence.Saliency(neuron=(self.layer, (1, 1)))
        self.refused(LayerError, "indices below", lambda net: plane.explain(net, self.tensor()))
        with pytest.raises(LayerError, match="no layers that can be named"):
            whence.Saliency(layer="conv1").explain(self.function(), self.tensor(), 0)

    # -- inputs ----------------------------------------------------------------------------------------------
    @every_method
    def test_shapes(self, method: whence.Method) -> None:
        explain = method.explain
        self.refused(ShapeError, "empty batch", lambda net: explain(net, self.tensor(X[:0]), 0))
        self.refused(ShapeError, "without axes", lambda net: explain(net, self.tensor(X[0, 0]), 0))
        self.refused(ShapeError, "flat structure", lambda net: explain(net, ((self.tensor(),), self.tensor()), 0))
        self.refused(ShapeError, "same number", lambda net: explain(net, (self.tensor(), self.tensor(X[:2])), 0))
        self.refused(Exception, self.shape_words, lambda net: explain(net, self.tensor(X[:, :5]), 0))

    def test_dtypes(self) -> None:
        whole = self.tensor(np.arange(24).reshape(4, FEATURES) % 3)
        words = "floating-point inputs.*embedding layer"
        self.refused(DTypeError, words, lambda net: whence.Saliency().explain(net, whole))
        if not self.casts_silently:
            double = X.astype(np.float64)
            self.refused(DTypeError, "float32", lambda net: whence.Saliency().explain(net, double, 0))
            if self.ops.dtype(self.tensor(double)) == "float64":
                self.refused(DTypeError, "float32", lambda net: whence.Saliency().explain(net, self.tensor(double), 0))

    @every_method
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_inputs_that_are_no_numbers(self, method: whence.Method, bad: float) -> None:
        x = X.copy()
        x[2, 1] = bad
        words = "input. Received: NaN or infinity in sample 2"
        self.refused(NonFiniteError, words, lambda net: method.explain(net, self.tensor(x), 0))
        x[0, 0] = bad
        self.refused(NonFiniteError, "in samples 0, 2", lambda net: method.explain(net, self.tensor(x), 0))

    @every_method
    def test_outputs_that_are_no_numbers(self, method: whence.Method) -> None:
        x = np.abs(X) + 1
        x[1] = -50
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(NonFiniteError, match=r"the model's score.*sample 1"):
                method.explain(lambda x: self.ops.log(x), self.tensor(x), 1)

    def test_gradients_that_are_no_numbers(self) -> None:
        x = np.abs(X) + 1
        x[1] = 0
        with pytest.raises(NonFiniteError, match=r"the gradient with respect to input.*sample 1"):
            whence.Saliency().explain(lambda x: self.ops.sqrt(x), self.tensor(x), 1)

    # -- hyper-parameters and options ------------------------------------------------------------------------
    @pytest.mark.parametrize(("make", "words"), [
        (lambda: whence.IntegratedGradients(n_steps=0), "n_steps. Received: 0. Valid: an int >= 1"),
        (lambda: whence.IntegratedGradients(n_steps=2.5), "n_steps"),
        (lambda: whence.IntegratedGradients(n_steps=True), "n_steps"),
        (lambda: whence.IntegratedGradients(rule="simpson"), "rule.*'simpson'.*gauss_legendre"),
        (lambda: whence.IntegratedGradients(tol=-1), "tol"),
        (lambda: whence.SmoothGrad(stdev=-0.1), "stdev. Received: -0.1. Valid: a finite number >= 0"),
        (lambda: whence.SmoothGrad(stdev=float("nan")), "stdev"),
        (lambda: whence.SmoothGrad(n_samples=0), "n_samples"),
        (lambda: whence.NoiseTunnel(kind="noisegrad"), "kind.*vargrad"),
        (lambda: whence.NoiseTunnel(inner="saliency"), "inner"),
        (lambda: whence.GradientSHAP(n_samples=-1), "n_samples"),
        (lambda: whence.SmoothGrad(seed=0.5), "seed. Received: 0.5"),
        (lambda: whence.GradientSHAP(seed=None), "seed. Received: None"),
        (lambda: whence.explain(abs, X, "integrated_gradient"), "integrated_gradients"),
    ])  # fmt: skip
    def test_hyper_parameters(self, make: Callable[[], Any], words: str) -> None:
        with pytest.raises(ParameterError, match=words):
            make()

    @pytest.mark.parametrize("size", [0, -3, 2.0, True, "all"])
    def test_batch_size(self, size: Any) -> None:
        self.refused(ParameterError, "batch_size.*an int >= 1",
                     lambda net: whence.Saliency().explain(net, self.tensor(), 0, batch_size=size))  # fmt: skip

    @pytest.mark.parametrize("make", [whence.IntegratedGradients, whence.GradientSHAP])
    def test_baselines(self, make: type[Any]) -> None:
        shapes = (X[:, :2], np.zeros((3, FEATURES, 1)), np.zeros(5))
        for baseline in (*shapes, "ones", object(), None, (0, 0), X.astype(str)):
            self.refused(BaselineError, "Valid: ",
                         lambda net, b=baseline: make(baseline=b).explain(net, self.tensor(), 0))  # fmt: skip
        self.refused(BaselineError, "layout", lambda net: make(baseline="blur").explain(net, self.tensor(), 0))

    def test_a_baseline_that_is_not_finite(self) -> None:
        x, method = self.tensor(), whence.IntegratedGradients(baseline=np.full(FEATURES, np.inf, np.float32))
        self.refused(NonFiniteError, "score at the baseline", lambda net: method.explain(net, x, 0))

    # -- models --------------------------------------------------------------------------------------------------
    @every_method
    def test_an_output_that_does_not_depend_on_the_input(self, method: whence.Method) -> None:
        constant = self.tensor(np.ones((1, CLASSES), np.float32))
        for model in (lambda x: self.ops.stop_gradient(x) * 2, lambda x: x[:, :CLASSES] * 0 + constant):
            with pytest.warns(ZeroAttributionWarning, match="exactly zero") as warned:
                found = method.explain(model, self.tensor(), 1)
            assert not self.ops.to_numpy(found.attributions).any()
            assert warned[0].filename == __file__

    def test_a_model_that_mixes_the_samples(self) -> None:
        def mixing(x: Any) -> Any:
            return self.function()(x - self.ops.mean(x, axis=0, keepdims=True))

        for method in (*METHODS.values(), whence.IntegratedGradients(n_steps=3, rule="riemann_left")):
            with pytest.warns(BatchMixingWarning, match="depends on the other samples") as warned:
                method.explain(lambda x: mixing(x), self.tensor(), 1)
            assert warned[0].filename == __file__
        sound = self.function()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for method in METHODS.values():
                method.explain(sound, self.tensor(), 1)
                method.explain(self.net(), self.tensor(), 1)

    def test_a_model_in_training_mode(self) -> None:
        net = self.in_training()
        if net is None:
            pytest.skip(f"models of {self.framework} have no such mode")
        before = self.state(net)
        with pytest.warns(TrainingModeWarning, match="inference mode") as warned:
            first = whence.Saliency().explain(net, self.tensor(), 0).attributions
        assert self.state(net) == before, "put back"
        assert warned[0].filename == __file__, "the line that called, not one inside"
        with pytest.warns(TrainingModeWarning):
            second = whence.Saliency().explain(net, self.tensor(), 0).attributions
        assert np.array_equal(self.ops.to_numpy(first), self.ops.to_numpy(second)), "no dropout"

    @pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
    def test_an_interrupted_call(self, error: type[BaseException]) -> None:
        """Interrupted at each of the first forward calls in turn, with and without a layer."""
        method = METHODS["integrated gradients"]
        wanted = method.explain(self.net(), self.tensor(), 0, batch_size=3)
        for layer in (None, self.layer):
            for last in self.interrupted_at:
                calls, broken = [0], [True]

                def on_call(calls: list[int] = calls, broken: list[bool] = broken, last: int = last) -> None:
                    calls[0] += 1
                    if broken[0] and calls[0] >= last:
                        raise error("interrupted")

                net = self.net(on_call)
                before = self.state(net)
                try:
                    whence.Saliency(layer=layer).explain(net, self.tensor(), 0, batch_size=1)
                    method.explain(net, self.tensor(), 0, batch_size=3)
                except error:
                    assert calls[0] >= last
                else:
                    assert calls[0] < last, "a compiled model is called from Python only while it is compiled"
                broken[0] = False
                assert self.state(net) == before
                again = method.explain(net, self.tensor(), 0, batch_size=3)
                gap = self.ops.to_numpy(again.attributions) - self.ops.to_numpy(wanted.attributions)
                assert np.abs(gap).max() < 1e-5

    def test_eight_threads_through_one_model(self) -> None:
        net, inputs = self.net(), [np.roll(X, i) for i in range(24)]
        before = self.state(net)
        methods: list[whence.Method] = [whence.IntegratedGradients(n_steps=5), whence.SmoothGrad(n_samples=4)]
        methods.append(whence.Saliency(layer=self.layer))

        def explain(i: int) -> np.ndarray:
            found = methods[i % 3].explain(net, self.tensor(inputs[i]), i % CLASSES, batch_size=1 + i % 4)
            return np.array(self.ops.to_numpy(found.attributions))

        serial = [explain(i) for i in range(24)]
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(explain, range(24)))
        assert self.state(net) == before
        for one, other in zip(serial, together, strict=True):
            assert np.abs(one - other).max() <= 1e-5 * np.abs(one).max()

    def test_a_black_box(self) -> None:
        for method in METHODS.values():
            with pytest.raises(CapabilityError, match="a black box"):
                method.explain(lambda x: x, X, 0)

    # -- frameworks --------------------------------------------------------------------------------------------
    def test_a_tensor_of_another_framework(self) -> None:
        foreign: Any = Foreign(X)
        self.refused(BackendError, f"model of {self.framework}.*bad_input.Foreign.*convert=True",
                     lambda net: whence.Saliency().explain(net, foreign, 0))  # fmt: skip
        net = self.net()
        found = whence.Saliency().explain(whence.wrap(net, convert=True), foreign, 0).attributions
        wanted = whence.Saliency().explain(net, self.tensor(), 0).attributions
        assert np.array_equal(self.ops.to_numpy(found), self.ops.to_numpy(wanted))

    def test_things_that_are_no_inputs_or_models(self) -> None:
        for thing in ("cat.png", 3.0, None):
            self.refused(BackendError, "tensors of|a tensor of",
                         lambda net, t=thing: whence.Saliency().explain(net, t, 0))  # fmt: skip
            with pytest.raises(BackendError, match="or a callable"):
                whence.Saliency().explain(thing, self.tensor(), 0)

    def test_nothing_is_printed(self, capfd: pytest.CaptureFixture[str]) -> None:
        whence.Saliency().explain(self.net(), self.tensor(), 0)
        assert capfd.readouterr().out == ""
