"""Rules of LRP by position and by layer, and what users get wrong with them, in every framework.

A framework's test file subclasses ``Placed`` and fills in the little networks.
"""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import whence
from whence.core.ops import Ops, Tensor
from whence.core.rule import OpCall, RuleSet, all_of, inside, is_first, is_last, kind_is
from whence.errors import CoverageError, LayerError, ParameterError, ShapeError
from whence.methods.lrp_input_rules import Box, Flat
from whence.methods.lrp_rules import AlphaBeta, Epsilon, Gamma

X = np.random.default_rng(3).uniform(-1, 1, (2, 4))
X[0, 1] = 0
AFFINE = kind_is("affine")
PASSES = whence.LRP(composite="epsilon", epsilon=1e-12)


def met_by(model: Any, rules: Callable[[Any], Any]) -> list[tuple[bool, bool, tuple[str, ...]]]:
    """Of each affine operation whether it is a first and a last one, and the layers that it knows to run in."""
    seen: list[tuple[bool, bool, tuple[str, ...]]] = []

    def spy(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> Sequence[Tensor | None]:
        seen.append((is_first(op), is_last(op), op.layers))
        return op.vjp(op.inputs, cotangents)

    intercepted = whence.wrap(model).intercept(RuleSet("spy", rules(spy)))
    found = whence.Saliency().explain(intercepted, X, 1).attributions
    np.testing.assert_array_equal(found, whence.Saliency().explain(model, X, 1).attributions)
    return seen


class Placed(ABC):
    """``model`` is c(relu(b(2 a(x))) + x) + c(x) without biases, 4 features throughout, in float64."""

    framework: str

    @abstractmethod
    def model(self) -> Any:
        """The network; its layers are named a, b, which holds a relu and a dense layer, and c."""

    @abstractmethod
    def weights(self) -> tuple[Any, Any, Any]:
        """Of a, b and c as arrays [inputs, outputs]."""

    def function(self, fn: Callable[..., Any]) -> whence.core.model.Model:
        """A plain function of the framework."""
        return whence.wrap(fn, framework=self.framework)

    def test_operations_know_their_place(self) -> None:
        found = met_by(self.model(), lambda rule: ((inside("a", "b", "c:1"), rule), (all_of(is_first, AFFINE), rule)))
        assert set(found) == {(True, False, ("a",)), (False, False, ("b",)), (True, True, ("c:1",))}

    def test_a_rule_for_one_layer(self) -> None:
        x, (a, b, c) = X, self.weights()
        hidden = x @ a
        active = np.maximum(2 * hidden, 0)
        method = whence.LRP(epsilon=1e-12, overrides=((inside("b"), AlphaBeta(2.0, 1.0, 1e-12)),))
        g_y = np.tile(c[:, 1], (2, 1))
        products = active[:, :, None] * b
        up, down = (f(products, 0).sum(1) + s * 1e-12 for f, s in ((np.maximum, 1), (np.minimum, -1)))
        r = g_y * (active @ b)
        share = 2 * np.maximum(products, 0) / up[:, None] - np.minimum(products, 0) / down[:, None]
        at_active = (share * r[:, None]).sum(2)
        at_hidden = at_active[:, None] * x[:, :, None] * a / hidden[:, None]
        expected = at_hidden.sum(2) + 2 * x * g_y
        found = method.explain(self.model(), X, 1).attributions
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)

    def test_a_difference_before_the_first_layer_keeps_relevance(self) -> None:
        a, _, c = map(self.tensors, self.weights())
        method = whence.LRP(epsilon=1e-12, overrides=((is_first, Flat()),))
        found, expected = (
            method.explain(self.function(lambda x, before=before: self.relu(before(x) @ a) @ c), X, 1).attributions
            for before in (lambda x: x - 0.75 * x, lambda x: 0.25 * x)
        )
        assert np.abs(expected).min() > 1e-3
        np.testing.assert_allclose(found, expected, rtol=1e-12)

    def test_relevance_arrives_by_rules_of_first_layers(self) -> None:
        for rule in (Flat(), Box(-1, 1, 1e-12)):
            method = whence.LRP(epsilon=1e-12, overrides=((is_first, rule),))
            found = method.explain(self.model(), X, 1)
            np.testing.assert_allclose(found.provenance.notes["absorbed"], 0, atol=1e-9)
            assert np.abs(found.attributions[0, 1]) > 0  # an input of zero

    def test_a_rule_for_the_last_operation(self) -> None:
        def by(matcher: Any, fields: dict[str, Any]) -> tuple[np.ndarray, Any]:
            method = whence.LRP(composite="gamma", epsilon=1e-12, overrides=((matcher, AlphaBeta(2.0, 1.0)),), **fields)
            found = method.explain(self.model(), X, None if "neuron" in fields else 1)
            return found.attributions, found.provenance.coverage

        cases: dict[str, tuple[dict[str, Any], ...]] = {
            "c": ({}, {"layer": "b"}), "b": ({"neuron": ("b", 2)},), "a": ({"neuron": ("a", 2)},)
        }  # fmt: skip
        for layer, fields in ((layer, each) for layer, several in cases.items() for each in several):
            last, coverage = by(is_last, fields)
            named, same = by(inside(layer) if layer != "b" else all_of(AFFINE, inside(layer)), fields)
            np.testing.assert_allclose(last, named, rtol=1e-10, atol=1e-12)
            assert coverage == same
            assert np.abs(last - by(kind_is("softmax"), fields)[0]).max() > 1e-3

    def test_the_last_operation_and_loops(self) -> None:
        a, b, _ = map(self.tensors, self.weights())

        def turn(h: Any) -> Any:
            return self.relu(h @ a) + h

        method = whence.LRP(composite="gamma", epsilon=1e-12, overrides=((is_last, AlphaBeta(2.0, 1.0)),))

        def explained(method: whence.LRP, fn: Callable[[Any], Any]) -> np.ndarray:
            return method.explain(self.function(fn), X, 1).attributions

        before_head = explained(method, lambda t: self.loop(turn, t) @ b)
        np.testing.assert_allclose(before_head, explained(method, lambda t: turn(turn(turn(t))) @ b), rtol=1e-8)
        at_the_end = explained(method, lambda t: self.loop(turn, t))
        # one operation stands for all turns, of which only the last has none behind it
        same = method if self.unrolls else whence.LRP(composite="gamma", epsilon=1e-12)
        np.testing.assert_allclose(at_the_end, explained(same, lambda t: turn(turn(turn(t)))), rtol=1e-8)

    unrolls = False

    @abstractmethod
    def loop(self, turn: Callable[[Any], Any], x: Any) -> Any:
        """Three turns of a loop of the framework."""

    def test_what_is_before_the_first_layer(self) -> None:
        _, b, _ = self.weights()
        x = X + 3

        def flat(fn: Callable[[Any], Any]) -> np.ndarray[Any, Any]:
            found = whence.LRP(composite="epsilon_plus_flat", epsilon=1e-12).explain(self.function(fn), x, 1)
            return np.asarray(found.attributions)

        native = self.tensors(b)
        plain = flat(lambda t: t @ native)
        np.testing.assert_allclose(plain, np.tile((x @ b)[:, 1:2] / 4, (1, 4)), rtol=1e-10)
        # a scale, a shift, a function value by value: the relevance is that of what they give, passed on
        np.testing.assert_allclose(flat(lambda t: ((t - 1) / 2) @ native).sum(1), ((x - 1) / 2 @ b)[:, 1], rtol=1e-9)
        np.testing.assert_allclose(flat(lambda t: (t * t) @ native).sum(1), (x * x @ b)[:, 1], rtol=1e-9)
        # what goes past all affine operations is shared by value
        skipping = flat(lambda t: t @ native + t)
        np.testing.assert_allclose(skipping, plain + x * np.eye(4)[1], rtol=1e-10)

    @abstractmethod
    def tensors(self, array: Any) -> Any:
        """A constant of the framework."""

    def test_wrong_places(self) -> None:
        with pytest.raises(LayerError, match="nowhere"):
            whence.LRP(overrides=((inside("nowhere"), Epsilon()),)).explain(self.model(), X, 1)
        with pytest.raises(LayerError, match="c:2"):
            whence.LRP(overrides=((inside("c:2"), Epsilon()),)).explain(self.model(), X, 1)
        with pytest.raises(CoverageError, match="first"):
            whence.LRP(overrides=((AFFINE, Flat()),)).explain(self.model(), X, 1)
        with pytest.raises(ShapeError, match="bounds"):
            whence.LRP(overrides=((is_first, Box((0.0, 1.0), 2.0)),)).explain(self.model(), X, 1)
        _, b, _ = self.weights()
        native = self.tensors(b)
        with pytest.raises(CoverageError, match=r"(?i)received: .*mul"):
            whence.LRP(composite="epsilon_plus_flat").explain(self.function(lambda t: (t * t[:, :1]) @ native), X, 1)
        with pytest.raises(LayerError, match="layers"):
            whence.LRP(overrides=((inside("dense"), Gamma()),)).explain(self.function(lambda t: t @ native), X, 1)

    def test_constants_behind_a_product_belong_to_it(self) -> None:
        a, b, _ = self.weights()
        mean, scale, shift = np.linspace(-1, 1, 4), np.array([0.5, -2.0, 1.5, -0.3]), np.linspace(0.4, -0.2, 4)
        folded, bias = a * scale, (0.7 - mean) * scale + shift

        def spelled(t: Any) -> Any:
            m, s, o, k, w = map(self.tensors, (mean, scale, shift, b, a))
            return self.relu((t @ w + 0.7 - m) * s + o) @ k

        def merged(t: Any) -> Any:
            return self.relu(t @ self.tensors(folded) + self.tensors(bias)) @ self.tensors(b)

        def narrow(t: Any) -> Any:
            m, s, o, k, w = map(self.tensors, (*(c.astype("float32") for c in (mean, scale, shift)), b, a))
            z = (self.cast(t @ w + 0.7, "float32") - m) * s + o
            return self.relu(self.cast(z, "float64")) @ k

        for composite in ("epsilon", "gamma", "alpha_beta", "epsilon_plus_flat"):
            method = whence.LRP(composite=composite)
            wanted = method.explain(self.function(merged), X, 1).attributions
            for fn, rounding in ((spelled, 1e-9), (narrow, 1e-5)):
                found = method.explain(self.function(fn), X, 1).attributions
                np.testing.assert_allclose(found, wanted, rtol=rounding, atol=rounding * np.abs(wanted).max())

    def test_relevance_at_each_layer(self) -> None:
        x, (a, b, c) = X, self.weights()
        out = np.maximum(2 * (x @ a), 0) @ b
        expected = {"b": out @ c[:, 1], "c:0": (out + x) @ c[:, 1], "c:1": x @ c[:, 1]}
        score = expected["c:0"] + expected["c:1"]
        flat = whence.LRP(composite="epsilon_plus_flat", epsilon=1e-12)
        for method in (whence.LRP(epsilon=1e-12), flat, whence.DeepLIFT()):
            found = method.explain(self.model(), X, 1).conservation()
            np.testing.assert_allclose(found.inputs, score, rtol=1e-8)
            np.testing.assert_allclose(found.score, score, rtol=1e-10)
            for name, relevance in expected.items():
                np.testing.assert_allclose(found.layers[name], relevance, rtol=1e-8)
            # the scale behind a belongs to it where affine operations have rules
            assert ("a" in found.layers) == isinstance(method, whence.DeepLIFT)
            assert "c:1" in str(found) and f"{score.mean():.6g}" in str(found)
        explained = whence.LRP(epsilon=1e-12).explain(self.model(), X, 1)
        some = explained.numpy().conservation(["b"], batch_size=1)
        assert list(some.layers) == ["b"]
        np.testing.assert_allclose(some.layers["b"], expected["b"], rtol=1e-8)
        with pytest.raises(LayerError, match="nowhere"):
            explained.conservation(["nowhere"])
        with pytest.raises(ParameterError, match="sequence"):
            explained.conservation("b")
        other = X[::-1].copy()
        by_b = expected["b"] - np.maximum(2 * (other @ a), 0) @ b @ c[:, 1]
        lrp, deep_lift = whence.LRP(epsilon=1e-12, layer="b"), whence.DeepLIFT(layer="b", baseline=other)
        for method, inputs, at_c in ((lrp, expected["b"], expected["c:0"]), (deep_lift, by_b, by_b)):
            from_b = method.explain(self.model(), X, 1).conservation()
            np.testing.assert_allclose(from_b.inputs, inputs, rtol=1e-8)
            np.testing.assert_allclose(from_b.layers["c:0"], at_c, rtol=1e-8)
            assert "b" not in from_b.layers and "a" not in from_b.layers

    def test_relevance_at_each_layer_is_of_what_was_explained(self, tmp_path: Path) -> None:
        model, x = self.model(), X.copy()
        explained = whence.LRP().explain(model, x, 1)
        whole = explained.conservation()
        for without in (
            whence.load(explained.save(tmp_path / "e.npz")),
            pickle.loads(pickle.dumps(explained)),
            whence.DeepLIFTSHAP().explain(model, x, 1),
            whence.InputXGradient().explain(model, x, 1),
        ):
            with pytest.raises(ParameterError, match=r"(?s)conservation of .*without the model.*deep_lift or lrp"):
                without.conservation()
        np.testing.assert_array_equal(explained.conservation().inputs, whole.inputs)
        x *= 2
        with pytest.raises(ParameterError, match="changed since: sample 0"):
            explained.conservation()

    @abstractmethod
    def cast(self, x: Any, dtype: str) -> Any:
        """The values in another precision."""

    @abstractmethod
    def relu(self, x: Any) -> Any:
        """max(x, 0)."""
