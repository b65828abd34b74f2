"""Methods by their snake_case names; those of other packages come through the entry points ``whence.methods``."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points

from whence.core.errors import ParameterError
from whence.core.method import Method

BUILT_IN = {
    "saliency": "gradient:Saliency",
    "input_x_gradient": "gradient:InputXGradient",
    "integrated_gradients": "path:IntegratedGradients",
    "gradient_shap": "path:GradientSHAP",
    "guided_backprop": "backprop:GuidedBackprop",
    "deconvnet": "backprop:Deconvnet",
    "deep_lift": "deep_lift:DeepLIFT",
    "deep_lift_shap": "deep_lift:DeepLIFTSHAP",
    "lrp": "lrp:LRP",
    "noise_tunnel": "noise:NoiseTunnel",
    "smooth_grad": "noise:SmoothGrad",
    "smooth_grad_squared": "noise:SmoothGradSquared",
    "var_grad": "noise:VarGrad",
    "feature_ablation": "perturbation:FeatureAblation",
    "occlusion": "perturbation:Occlusion",
    "feature_permutation": "perturbation:FeaturePermutation",
    "rise": "rise:RISE",
    "exact_shapley": "shapley:ExactShapley",
    "shapley_sampling": "shapley:ShapleySampling",
    "kernel_shap": "kernel_shap:KernelSHAP",
    "owen_values": "owen:OwenValues",
    "activations": "activations:Activations",
    "layer_conductance": "conductance:LayerConductance",
    "internal_influence": "conductance:InternalInfluence",
    "cam": "cam.head:CAM",
    "grad_cam": "cam.gradient:GradCAM",
    "grad_cam_plus_plus": "cam.gradient:GradCAMPlusPlus",
    "hi_res_cam": "cam.gradient:HiResCAM",
    "x_grad_cam": "cam.gradient:XGradCAM",
    "layer_cam": "cam.gradient:LayerCAM",
    "score_cam": "cam.score:ScoreCAM",
    "ablation_cam": "cam.ablation:AblationCAM",
    "eigen_cam": "cam.eigen:EigenCAM",
    "eigen_grad_cam": "cam.eigen:EigenGradCAM",
    "full_grad": "cam.full_grad:FullGrad",
    "guided_grad_cam": "cam.guided:GuidedGradCAM",
    "lime": "lime:LIME",
    "lime_text": "lime:LIMEText",
    "lime_tabular": "lime_tabular:LIMETabular",
    "sobol": "sobol:Sobol",
    "hsic": "hsic:HSIC",
    "anchor_tabular": "anchors:AnchorTabular",
    "anchor_image": "anchors:AnchorImage",
    "anchor_text": "anchors:AnchorText",
}


def method_names() -> tuple[str, ...]:
    """All names that ``method_class`` knows."""
    return (*BUILT_IN, *(entry.name for entry in entry_points(group="whence.methods")))


def black_box_methods() -> tuple[str, ...]:
    """Names of the methods that need neither gradients nor layers."""
    classes = {name: method_class(name) for name in method_names()}
    return tuple(name for name, cls in classes.items() if not cls.needs_gradient and not cls.needs_layers)


def method_class(name: str) -> type[Method]:
    """The method of that name."""
    found: type[Method]
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        found = getattr(import_module(f"whence.methods.{module}"), attribute)
        return found
    for entry in entry_points(group="whence.methods"):
        if entry.name == name:
            found = entry.load()
            return found
    names = method_names()
    near = get_close_matches(str(name), names, n=3)
    nearest = f"nearest names: {', '.join(near)}; " if near else ""
    raise ParameterError("method", received=repr(name), valid=f"{nearest}one of {', '.join(names)}")
