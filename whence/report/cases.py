"""What the demonstration runs: every method of the registry, some of them with several settings.

A new method appears by itself, with its defaults. Where defaults do not suit digits of 8 by 8, add it to ``SETTINGS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from whence.core.baselines import DataSet
from whence.core.features import Grid
from whence.core.method import Method
from whence.core.registry import method_class, method_names

Make = Callable[[np.ndarray], Mapping[str, Any]]
"""From training digits in the framework's layout to the method's parameters."""

LAYER = "conv2"
"""The last layer with spatial axes that has the same name in every framework."""

SETTINGS: dict[str, tuple[tuple[str, Make], ...]] = {
    "integrated_gradients": (
        ("midpoint rule, 50 steps", lambda _: {}),
        ("Gauss-Legendre, 50 steps", lambda _: {"rule": "gauss_legendre"}),
        ("trapezoid rule, 50 steps", lambda _: {"rule": "riemann_trapezoid"}),
        ("adaptive, tol=0.01", lambda _: {"tol": 0.01}),
        ("at layer conv2", lambda _: {"layer": "conv2"}),
    ),
    "deep_lift": (
        ("rescale rule", lambda _: {}),
        ("RevealCancel rule", lambda _: {"rule": "reveal_cancel"}),
    ),
    "deep_lift_shap": (("baselines from the training digits", lambda training: {"baseline": training}),),
    "lrp": (
        ("epsilon", lambda _: {}),
        ("epsilon plus flat", lambda _: {"composite": "epsilon_plus_flat"}),
        ("epsilon gamma box", lambda _: {"composite": "epsilon_gamma_box", "low": 0.0, "high": 1.0}),
    ),
    "full_grad": (("", lambda _: {}),),
    "activations": (
        ("of conv1", lambda _: {"layers": ["conv1"]}),
        (f"of {LAYER}", lambda _: {"layers": [LAYER]}),
    ),
    "feature_ablation": (("patches of 2 by 2", lambda _: {"feature_mask": Grid(2)}),),
    "occlusion": (("windows of 3 by 3", lambda _: {"window": 3}),),
    "feature_permutation": (
        ("pixels of training digits", lambda training: {"baseline": DataSet(training), "feature_mask": Grid(2)}),
    ),
    "rise": (("4 by 4 cells, 500 masks", lambda _: {"grid": 4, "n_samples": 500}),),
    "exact_shapley": (("8 patches", lambda _: {"feature_mask": Grid((4, 2))}),),
    "shapley_sampling": (("patches of 2 by 2", lambda _: {"feature_mask": Grid(2)}),),
    "kernel_shap": (("patches of 2 by 2, 500 coalitions", lambda _: {"feature_mask": Grid(2), "n_samples": 500}),),
    "owen_values": (("patches of 2 by 2, in halves", lambda _: {"feature_mask": Grid(2)}),),
    "lime": (("patches of 2 by 2, 500 variants", lambda _: {"feature_mask": Grid(2), "n_samples": 500}),),
    "sobol": (("4 by 4 cells", lambda _: {"grid": 4, "n_samples": 32}),),
    "hsic": (("4 by 4 cells", lambda _: {"grid": 4, "n_samples": 200}),),
    "anchor_image": (("8 patches", lambda _: {"feature_mask": Grid((4, 2)), "n_check": 200, "max_size": 3}),),
    **{name: () for name in ("lime_text", "lime_tabular", "anchor_tabular", "anchor_text")},
    "gradient_shap": (("baselines from the training digits", lambda training: {"baseline": training}),),
}
BACKGROUND = 100
"""Training digits that serve as baselines."""


@dataclass(frozen=True)
class Case:
    """One method with one setting; ``setting`` is empty for the defaults."""

    name: str
    setting: str
    make: Make

    @property
    def label(self) -> str:
        """Name and setting."""
        return f"{self.name}, {self.setting}" if self.setting else self.name

    def method(self, training: np.ndarray) -> Method:
        """The method, given training digits in the framework's layout."""
        return method_class(self.name)(**self.make(training))


def cases(names: tuple[str, ...] = ()) -> tuple[Case, ...]:
    """All cases of these methods, of all methods if none is named."""
    return tuple(
        Case(name, setting, make)
        for name in names or method_names()
        for setting, make in SETTINGS.get(name, (_default(name),))
    )


def _default(name: str) -> tuple[str, Make]:
    """The defaults; at a layer that all frameworks have where the method needs one, as they name others last."""
    return (f"at layer {LAYER}", lambda _: {"layer": LAYER}) if method_class(name).needs_layers else ("", lambda _: {})
