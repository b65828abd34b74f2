"""Padding written as an operation of its own, under LRP's rules for first layers: as padding inside a convolution.

A framework's test file subclasses ``Padded`` and fills in its operations, on images ``[B, H, W, C]``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import whence
from whence.core.rule import is_first
from whence.methods.lrp_input_rules import Flat, WSquare
from whence.methods.lrp_rules import Epsilon, Gamma

RNG = np.random.default_rng(5)
X = RNG.normal(size=(2, 5, 6, 3))
X[:, 1:3, 2:4] = 0
KERNEL, SECOND, BIAS, HEAD = (RNG.normal(size=s) for s in ((3, 3, 3, 4), (3, 3, 3, 4), 4, (4, 2)))
AROUND = ((0, 0), (1, 1), (1, 1), (0, 0))
METHODS = {
    "epsilon_plus_flat": whence.LRP(composite="epsilon_plus_flat"),
    "epsilon_alpha2_beta1_flat": whence.LRP(composite="epsilon_alpha2_beta1_flat"),
    "epsilon_gamma_box": whence.LRP(composite="epsilon_gamma_box", low=-4.0, high=4.0),
    "flat": whence.LRP(overrides=((is_first, Flat()),)),
    "w-square": whence.LRP(overrides=((is_first, WSquare()),)),
    "gamma": whence.LRP(composite="gamma", overrides=((is_first, Gamma(0.5)),)),
}


def shared(padded: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Relevance of the network's inputs ``padded``, if its first layer shares among those that count, equally."""
    relevance = np.zeros_like(padded)
    places = [(slice(2 * i, 2 * i + 3), slice(2 * j, 2 * j + 3)) for i in range(3) for j in range(3)]
    for at in places:
        z = np.einsum("bhwc,hwco->bo", padded[:, *at], KERNEL) + BIAS
        score = (np.maximum(z, 0) @ HEAD)[:, 1] / len(places)
        relevance[:, *at] += counts[at] * score[:, None, None, None] / counts[at].sum()
    return relevance


def cropped(relevance: np.ndarray) -> np.ndarray:
    """Without what goes to the padding."""
    return relevance[:, 1:-1, 1:-1]


class Padded(ABC):
    """Networks that pad in front of a convolution, beside those that do it inside."""

    framework: str

    @abstractmethod
    def tensors(self, array: Any) -> Any:
        """A constant of the framework."""

    @abstractmethod
    def pad(self, x: Any, widths: Sequence[tuple[int, int]], value: float = 0.0) -> Any:
        """With so many values before and after, or without where these are negative."""

    @abstractmethod
    def reflect(self, x: Any) -> Any:
        """With its own values outside of height and width, mirrored."""

    @abstractmethod
    def conv(self, x: Any, kernel: Any, padding: int) -> Any:
        """A convolution with stride 2 and so much padding inside on each side of height and width."""

    @abstractmethod
    def transpose(self, x: Any, axes: Sequence[int]) -> Any:
        """Its axes in another order."""

    @abstractmethod
    def relu_mean(self, x: Any) -> Any:
        """Of max(x, 0) the mean over height and width."""

    @abstractmethod
    def layers(self, kernel: Any, head: Any) -> Any:
        """The network as layers: "pad", "conv", which has no bias, and others."""

    def net(self, *convolved: Callable[[Any], Any]) -> whence.core.model.Model:
        """The network whose first layer gives the sum of these, and a bias."""

        def forward(x: Any) -> Any:
            z = sum(fn(x) for fn in convolved) + self.tensors(BIAS)
            return self.relu_mean(z) @ self.tensors(HEAD)

        return whence.wrap(forward, framework=self.framework)

    def inside(self, x: Any) -> Any:
        return self.conv(x, self.tensors(KERNEL), 1)

    def outside(self, x: Any, kernel: Any = KERNEL) -> Any:
        return self.conv(x, self.tensors(kernel), 0)

    def same(self, method: whence.LRP, one: Any, other: Any) -> None:
        a, b = (method.explain(model, X, 1).attributions for model in (one, other))
        assert np.abs(a).max() > 0 and np.abs(a - b).max() <= 1e-12 * np.abs(a).max()

    @pytest.mark.parametrize("name", METHODS)
    def test_padding_takes_no_share(self, name: str) -> None:
        method, inside = METHODS[name], self.net(self.inside)
        self.same(method, inside, self.net(lambda x: self.outside(self.pad(x, AROUND))))

        def moved(x: Any) -> Any:
            padded = self.pad(self.transpose(x, (0, 3, 1, 2)), ((0, 0), (0, 0), (1, 1), (1, 1)))
            return self.outside(self.transpose(padded, (0, 2, 3, 1)))

        self.same(method, inside, self.net(moved))
        # one side after the other, and more than is wanted
        wide = ((0, 0), (3, 0), (0, 2), (0, 0))
        parts = self.net(lambda x: self.outside(self.pad(self.pad(x, wide), ((0, 0), (-2, 1), (1, -1), (0, 0)))))
        self.same(method, inside, parts)

    @pytest.mark.parametrize("name", ["epsilon_plus_flat", "epsilon_gamma_box", "w-square"])
    def test_one_padding_for_two_convolutions(self, name: str) -> None:
        def both(x: Any) -> Any:
            padded = self.pad(x, AROUND)
            return self.outside(padded) + self.outside(padded, SECOND)

        inside = self.net(self.inside, lambda x: self.conv(x, self.tensors(SECOND), 1))
        self.same(METHODS[name], inside, self.net(both))

    def test_what_is_done_to_padding(self) -> None:
        """A function value by value of what was padded: zeros are none of the inputs as long as they are zeros."""

        def first(x: Any) -> Any:
            return self.outside(self.pad(x, AROUND))

        for fn in (lambda x: x * self.tensors([2.0, -0.5, 0.25]), lambda x: x + x * 0.5, lambda x: x * x):
            inside = self.net(lambda x, fn=fn: self.inside(fn(x)))
            self.same(METHODS["flat"], inside, self.net(lambda x, fn=fn: self.outside(fn(self.pad(x, AROUND)))))
        shift = np.array([1.0, 0.0, 0.0])
        counts = np.zeros((7, 8, 3))
        counts[1:-1, 1:-1] = counts[..., 0] = 1
        found = self.flat(lambda x: self.outside(self.pad(x, AROUND) - self.tensors(shift)))
        np.testing.assert_allclose(found, cropped(shared(np.pad(X, AROUND) - shift, counts)), rtol=1e-9, atol=1e-12)
        counts[..., 0] = counts[..., 1]
        np.testing.assert_allclose(self.flat(first), cropped(shared(np.pad(X, AROUND), counts)), rtol=1e-9, atol=1e-12)

    def test_other_padding_is_made_of_values(self) -> None:
        constant = np.pad(X, AROUND, constant_values=0.5)
        found = self.flat(lambda x: self.outside(self.pad(x, AROUND, 0.5)))
        np.testing.assert_allclose(found, cropped(shared(constant, np.ones((7, 8, 3)))), rtol=1e-9, atol=1e-12)
        mirrored = np.pad(np.arange(X[0].size).reshape(X[0].shape), AROUND[1:], mode="reflect").ravel()
        at_padded = shared(np.pad(X, AROUND, mode="reflect"), np.ones((7, 8, 3)))
        expected = [np.bincount(mirrored, each.ravel()).reshape(X[0].shape) for each in at_padded]
        found = self.flat(lambda x: self.outside(self.reflect(x)))
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)

    def flat(self, convolved: Callable[[Any], Any]) -> Any:
        method = whence.LRP(epsilon=1e-12, overrides=((is_first, Flat()),))
        return method.explain(self.net(convolved), X, 1).attributions

    def test_a_dense_layer(self) -> None:
        weight = RNG.normal(size=(9, 2))
        methods = [m for name, m in METHODS.items() if name != "epsilon_gamma_box"]
        for method in (*methods, whence.LRP(composite="epsilon_plus_flat", epsilon=1e-12)):
            whole, part = (self.tensors(w) for w in (weight, weight[3:-2]))
            one, other = (whence.wrap(fn, framework=self.framework) for fn in (
                lambda x, w=part: x @ w, lambda x, w=whole: self.pad(x, ((0, 0), (3, 2))) @ w
            ))  # fmt: skip
            a, b = (method.explain(model, X[:, 0, :4, 0], 1).attributions for model in (one, other))
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)

    def test_relevance_at_a_layer_that_pads(self) -> None:
        model = self.layers(KERNEL, HEAD)
        for first in (Flat(), WSquare(), Epsilon(1e-12)):
            method = whence.LRP(epsilon=1e-12, overrides=((is_first, first),))
            found = method.explain(model, self.images(X), 1)
            np.testing.assert_allclose(found.provenance.notes["absorbed"], 0, atol=1e-9)
            relevance = found.conservation()
            assert {"pad", "conv"} <= relevance.layers.keys()
            for sums in (*relevance.layers.values(), relevance.inputs):
                np.testing.assert_allclose(sums, relevance.score, rtol=1e-8)
        coverage = METHODS["flat"].explain(model, self.images(X), 1).provenance.coverage
        assert sum(coverage["ruled"].values()) == 2 and not coverage["fallback"]
        assert sum(n for name, n in coverage["plain"].items() if "pad" in name.lower()) == 1

    def images(self, x: Any) -> Any:
        """In the layout of ``layers``."""
        return x
