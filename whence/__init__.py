"""whence: where a neural network's prediction came from, the same for PyTorch, JAX, TensorFlow and black boxes.

Importing this package imports no framework; names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whence import baselines as baselines
    from whence import errors as errors
    from whence import features as features
    from whence import methods as methods
    from whence import targets as targets
    from whence import testing as testing
    from whence.core.explanation import Explanation as Explanation
    from whence.core.explanation import load as load
    from whence.core.method import Method as Method
    from whence.core.token_grid import TokenGrid as TokenGrid
    from whence.front import explain as explain
    from whence.front import wrap as wrap
    from whence.methods.activations import Activations as Activations
    from whence.methods.anchors import AnchorImage as AnchorImage
    from whence.methods.anchors import AnchorTabular as AnchorTabular
    from whence.methods.anchors import AnchorText as AnchorText
    from whence.methods.backprop import Deconvnet as Deconvnet
    from whence.methods.backprop import GuidedBackprop as GuidedBackprop
    from whence.methods.cam.ablation import AblationCAM as AblationCAM
    from whence.methods.cam.eigen import EigenCAM as EigenCAM
    from whence.methods.cam.eigen import EigenGradCAM as EigenGradCAM
    from whence.methods.cam.full_grad import FullGrad as FullGrad
    from whence.methods.cam.gradient import GradCAM as GradCAM
    from whence.methods.cam.gradient import GradCAMPlusPlus as GradCAMPlusPlus
    from whence.methods.cam.gradient import HiResCAM as HiResCAM
    from whence.methods.cam.gradient import LayerCAM as LayerCAM
    from whence.methods.cam.gradient import XGradCAM as XGradCAM
    from whence.methods.cam.guided import GuidedGradCAM as GuidedGradCAM
    from whence.methods.cam.head import CAM as CAM
    from whence.methods.cam.score import ScoreCAM as ScoreCAM
    from whence.methods.conductance import InternalInfluence as InternalInfluence
    from whence.methods.conductance import LayerConductance as LayerConductance
    from whence.methods.deep_lift import DeepLIFT as DeepLIFT
    from whence.methods.deep_lift import DeepLIFTSHAP as DeepLIFTSHAP
    from whence.methods.gradient import InputXGradient as InputXGradient
    from whence.methods.gradient import Saliency as Saliency
    from whence.methods.hsic import HSIC as HSIC
    from whence.methods.kernel_shap import KernelSHAP as KernelSHAP
    from whence.methods.lime import LIME as LIME
    from whence.methods.lime import LIMEText as LIMEText
    from whence.methods.lime_tabular import LIMETabular as LIMETabular
    from whence.methods.lrp import LRP as LRP
    from whence.methods.noise import NoiseTunnel as NoiseTunnel
    from whence.methods.noise import SmoothGrad as SmoothGrad
    from whence.methods.noise import SmoothGradSquared as SmoothGradSquared
    from whence.methods.noise import VarGrad as VarGrad
    from whence.methods.owen import OwenValues as OwenValues
    from whence.methods.path import GradientSHAP as GradientSHAP
    from whence.methods.path import IntegratedGradients as IntegratedGradients
    from whence.methods.perturbation import FeatureAblation as FeatureAblation
    from whence.methods.perturbation import FeaturePermutation as FeaturePermutation
    from whence.methods.perturbation import Occlusion as Occlusion
    from whence.methods.rise import RISE as RISE
    from whence.methods.shapley import ExactShapley as ExactShapley
    from whence.methods.shapley import ShapleySampling as ShapleySampling
    from whence.methods.sobol import Sobol as Sobol
    from whence.recorder import Recorder as Recorder

__version__ = "0.1.0"

_HOMES = {
    "explain": "whence.front", "wrap": "whence.front",
    "Explanation": "whence.core.explanation", "load": "whence.core.explanation", "Method": "whence.core.method",
    "Saliency": "whence.methods.gradient", "InputXGradient": "whence.methods.gradient",
    "IntegratedGradients": "whence.methods.path", "GradientSHAP": "whence.methods.path",
    "LRP": "whence.methods.lrp",
    "GuidedGradCAM": "whence.methods.cam.guided",
    "DeepLIFT": "whence.methods.deep_lift", "DeepLIFTSHAP": "whence.methods.deep_lift",
    "GuidedBackprop": "whence.methods.backprop", "Deconvnet": "whence.methods.backprop",
    "FeatureAblation": "whence.methods.perturbation", "FeaturePermutation": "whence.methods.perturbation",
    "Occlusion": "whence.methods.perturbation", "RISE": "whence.methods.rise",
    "ExactShapley": "whence.methods.shapley", "ShapleySampling": "whence.methods.shapley",
    "KernelSHAP": "whence.methods.kernel_shap",
    "LIME": "whence.methods.lime", "LIMEText": "whence.methods.lime",
    "AnchorImage": "whence.methods.anchors", "AnchorTabular": "whence.methods.anchors",
    "AnchorText": "whence.methods.anchors",
    "OwenValues": "whence.methods.owen",
    "Sobol": "whence.methods.sobol", "HSIC": "whence.methods.hsic", "LIMETabular": "whence.methods.lime_tabular",
    "NoiseTunnel": "whence.methods.noise", "SmoothGrad": "whence.methods.noise",
    "SmoothGradSquared": "whence.methods.noise", "VarGrad": "whence.methods.noise",
    "Activations": "whence.methods.activations",
    "LayerConductance": "whence.methods.conductance", "InternalInfluence": "whence.methods.conductance",
    "CAM": "whence.methods.cam.head",
    "GradCAM": "whence.methods.cam.gradient", "GradCAMPlusPlus": "whence.methods.cam.gradient",
    "HiResCAM": "whence.methods.cam.gradient", "XGradCAM": "whence.methods.cam.gradient",
    "LayerCAM": "whence.methods.cam.gradient",
    "ScoreCAM": "whence.methods.cam.score", "AblationCAM": "whence.methods.cam.ablation",
    "EigenCAM": "whence.methods.cam.eigen", "EigenGradCAM": "whence.methods.cam.eigen",
    "FullGrad": "whence.methods.cam.full_grad",
    "TokenGrid": "whence.core.token_grid", "Recorder": "whence.recorder",
}  # fmt: skip
_MODULES = ("baselines", "errors", "features", "methods", "targets", "testing")

__all__ = [*_MODULES, *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _MODULES:
        return import_module(f"whence.{name}")
    raise AttributeError(f"module 'whence' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
