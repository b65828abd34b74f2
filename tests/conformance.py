"""Which methods the conformance kit runs on in every framework, small so that compilation dominates nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import whence
from whence.baselines import DataSet, Gaussian
from whence.features import Tokens
from whence.testing import Check, method_checks

ROWS = np.random.default_rng(4).standard_normal((7, 6)).astype(np.float32)
METHODS: tuple[whence.Method, ...] = (
    whence.Saliency(),
    whence.InputXGradient(),
    whence.IntegratedGradients(n_steps=4),
    whence.IntegratedGradients(tol=0.02),
    whence.GradientSHAP(n_samples=5, stdev=0.1, baseline=Gaussian()),
    whence.SmoothGrad(n_samples=4),
    whence.SmoothGradSquared(n_samples=4),
    whence.VarGrad(n_samples=4),
    whence.NoiseTunnel(inner=whence.IntegratedGradients(n_steps=3), n_samples=3),
    whence.IntegratedGradients(n_steps=4, layer="features"),
    whence.SmoothGrad(n_samples=4, neuron=("features", (2,))),
    whence.GuidedBackprop(),
    whence.NoiseTunnel(inner=whence.Deconvnet(), n_samples=3),
    whence.DeepLIFT(baseline="min"),
    whence.DeepLIFTSHAP(baseline=DataSet(ROWS[:3])),
    whence.DeepLIFTSHAP(baseline=Gaussian(), n_samples=5),
    whence.LRP(composite="gamma"),
)
SOME = tuple(METHODS[i] for i in (0, 3, 4, 8, 9, 10, 11, 12, 13, 14, 15, 16))
"""Every piece of code that a method adds, where each check costs a compilation."""
FEW = (METHODS[0], METHODS[2], METHODS[5])
"""A method of each engine."""

PERTURBATION: tuple[whence.Method, ...] = (
    whence.FeatureAblation(baseline="min"),
    whence.FeatureAblation(baseline=DataSet(ROWS), feature_mask=Tokens(words=[4, 4, 0, 9, 9, 1])),
    whence.FeatureAblation(layer="features", neuron=("head", (1,))),
    whence.Occlusion(window=3, stride=2),
    whence.FeaturePermutation(baseline=DataSet(ROWS), n_samples=3),
    whence.RISE(n_samples=40, grid=3),
    whence.ExactShapley(feature_mask=Tokens(words=[4, 4, 0, 9, 9, 1])),
    whence.ShapleySampling(n_samples=5, baseline="min"),
    whence.KernelSHAP(n_samples=40, baseline=DataSet(ROWS[:2])),
    whence.OwenValues(n_samples=5, baseline="min"),
    whence.LIME(n_samples=40),
    whence.Sobol(n_samples=4, grid=3),
    whence.HSIC(n_samples=16, grid=3),
    whence.LIMEText(n_samples=40, n_features=3),
)
"""Methods without gradients; a background of rows serves models of one input and of two."""

LAYERED: tuple[whence.Method, ...] = (
    whence.GradCAM(layer="features"),
    whence.GradCAMPlusPlus(layer="features", epsilon=1e-6, normalize="max"),
    whence.LayerCAM(upsample="none"),
    whence.ScoreCAM(layer="features"),
    whence.AblationCAM(layer="features", size=(6, 5), upsample="nearest"),
    whence.EigenCAM(layer="features", normalize="min_max"),
    whence.LayerConductance(layer="features", n_steps=5),
    whence.InternalInfluence(layer="features", n_steps=5),
)
"""Methods that look at layers, of images: every engine behind them and every convention once."""


SOME_LAYERED = (LAYERED[0], LAYERED[3], LAYERED[6])
"""One method of each engine, where each check costs a compilation."""


def layer_checks(
    framework: str, methods: Sequence[whence.Method] = LAYERED, dtypes: Sequence[str] = ("float32", "float64")
) -> list[Check]:
    """Their checks on one framework."""
    return [
        Check(f"{i} {check.name}", check.body)
        for i, method in enumerate(methods)
        for check in method_checks(method, [framework], dtypes=dtypes, shape=(2, 4, 4), layout="NCHW")
    ]


def perturbation_checks(
    framework: str, methods: Sequence[whence.Method] = PERTURBATION, dtypes: Sequence[str] = ("float32", "float64")
) -> list[Check]:
    """Their checks on one framework, agreement with the same function as a black box on NumPy among them."""
    return [
        Check(f"{i} {check.name}", check.body)
        for i, method in enumerate(methods)
        for check in method_checks(method, tuple(dict.fromkeys(("numpy", framework))), dtypes=dtypes)
        if framework in check.name or (framework == "numpy" and "[" not in check.name)
    ]


def all_checks(
    framework: str, methods: Sequence[whence.Method], dtypes: Sequence[str] = ("float32", "float64")
) -> list[Check]:
    """The checks of every method, told apart by their number where two are of one name."""
    return [
        Check(f"{i} {check.name}", check.body)
        for i, method in enumerate(methods)
        for check in method_checks(method, [framework], dtypes=dtypes)
    ]
