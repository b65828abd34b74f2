"""Methods on PyTorch against float64 re-implementations from their papers, also at layers and neurons."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import whence
from tests import oracle_models, oracles
from tests.method_oracles import CASES, N_DRAWS, PROMISED, SEED, TARGETS, Setting, check, close, drawn, each
from tests.oracles import Array
from whence.core.sampling import normal, uniform

NEURON = 3
by_dtype = pytest.mark.parametrize("dtype", PROMISED)
by_activation = pytest.mark.parametrize("activation", ["tanh", "relu"])


@by_dtype
@by_activation
@pytest.mark.parametrize("case", CASES)
def test_method_is_what_its_paper_says(case: str, activation: str, dtype: str) -> None:
    check("torch", case, dtype, activation)


def sequential(s: Setting) -> nn.Sequential:
    """The MLP of the setting with layers "0", "1" and "2"."""
    first, last = nn.Linear(*s.net.w1.shape), nn.Linear(*s.net.w2.shape)
    model = nn.Sequential(first, nn.Tanh() if s.activation == "tanh" else nn.ReLU(), last).to(getattr(torch, s.dtype))
    with torch.no_grad():
        for layer, w, b in ((first, s.net.w1, s.net.b1), (last, s.net.w2, s.net.b2)):
            layer.weight.copy_(torch.from_numpy(w.T))
            layer.bias.copy_(torch.from_numpy(b))
    return model.eval()


def explain(s: Setting, method: whence.Method, target: Any = TARGETS) -> whence.Explanation:
    return method.explain(sequential(s), torch.from_numpy(s.given(s.x)), target, batch_size=5).numpy()


@by_dtype
@by_activation
def test_layer_is_attributed_as_the_input_of_the_rest(activation: str, dtype: str) -> None:
    """Baselines are given at the inputs and stand for what the layer makes of them; noise is the layer's own."""
    s = Setting("torch", dtype, activation)
    z = np.stack([s.net.before(row) for row in s.x])

    def at_layer(oracle: Any, *arrays: Array) -> Array:
        return each(oracle, s.net.score_from_before, s.net.gradient_at_before, z, *arrays)

    saliency = at_layer(lambda f, df, x: oracles.saliency(df, x))
    s.close(explain(s, whence.Saliency(layer="0")).attributions, saliency)
    product = at_layer(lambda f, df, x: oracles.input_x_gradient(df, x))
    s.close(explain(s, whence.InputXGradient(layer="0")).attributions, product)
    for rule in ("riemann_middle", "gauss_legendre"):
        given, base = torch.from_numpy(s.given(s.baseline)), np.stack([s.net.before(row) for row in s.baseline])
        method = whence.IntegratedGradients(layer="0", baseline=given, n_steps=6, rule=rule)
        path = at_layer(lambda f, df, x, b, r=rule: oracles.integrated_gradients(df, x, b[0], 6, r), base[None])
        s.close(explain(s, method).attributions, path)
    noise = 0.3 * s.normal("noise_tunnel/0", z.shape[1:])
    smooth = explain(s, whence.SmoothGrad(layer="0", n_samples=N_DRAWS, stdev=0.3, relative=False, seed=SEED))
    mean = at_layer(lambda f, df, x, e: oracles.smoothgrad(lambda v: oracles.saliency(df, v), x, e), noise)
    s.close(smooth.attributions, mean)
    draws = (
        np.apply_along_axis(s.net.before, -1, 0.5 + 2.0 * s.normal("baseline/0", seed=9)),
        drawn(uniform, "gradient_shap/alpha/None", ()),
        0.2 * s.normal("gradient_shap/noise/0", z.shape[1:]),
    )
    baseline = whence.baselines.Gaussian(0.5, 2.0, seed=9)
    shap = whence.GradientSHAP(layer="0", baseline=baseline, n_samples=N_DRAWS, stdev=0.2, seed=SEED)
    s.close(explain(s, shap).attributions, at_layer(lambda f, df, x, *d: oracles.expected_gradients(df, x, *d), *draws))


@by_dtype
@by_activation
def test_neuron_is_explained_in_place_of_the_output(activation: str, dtype: str) -> None:
    s, at = Setting("torch", dtype, activation), ("1", (NEURON,))

    def gradient(x: Array) -> Array:
        return s.net.neuron_gradient(x, NEURON)

    found = explain(s, whence.Saliency(neuron=at), None)
    s.close(found.attributions, oracles.saliency(gradient, s.x))
    s.close(found.score, np.array([s.net.hidden(row)[NEURON] for row in s.x]))
    method = whence.IntegratedGradients(neuron=at, baseline=torch.from_numpy(s.given(s.baseline)), n_steps=6)
    s.close(explain(s, method, None).attributions, oracles.integrated_gradients(gradient, s.x, s.baseline, 6))
    noise = s.noise("noise_tunnel/0", relative=True)
    smooth = explain(s, whence.SmoothGrad(neuron=at, n_samples=N_DRAWS, stdev=0.3, seed=SEED), None)
    s.close(smooth.attributions, oracles.smoothgrad(lambda v: oracles.saliency(gradient, v), s.x, noise))
    # A neuron with respect to a layer: dh_n / dz is act'(z_n) at n and zero elsewhere.
    slope = np.zeros((len(s.x), oracle_models.N_HIDDEN))
    for b, row in enumerate(s.x):
        slope[b, NEURON] = s.net.slope(s.net.before(row))[NEURON]
    s.close(explain(s, whence.Saliency(layer="0", neuron=at), None).attributions, slope)


def convnet(parameters: dict[str, Array]) -> nn.Sequential:
    p = {name: torch.from_numpy(value) for name, value in parameters.items()}
    layers = nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)
    model = nn.Sequential(*layers).double()
    names = ("k1", "b1", "k2", "b2", "w", "b")
    with torch.no_grad():
        for weight, name in zip(model.parameters(), names, strict=True):
            weight.copy_(p[name])
    return model.eval()


def test_images() -> None:
    """Gradients by the naive convolutions; noise is drawn channels last and moved."""
    p, x = oracle_models.convnet(), oracle_models.images()
    model, given = convnet(p), torch.from_numpy(x)

    def at_image(oracle: Any, *arrays: Array) -> Array:
        return each(oracle, lambda v, t: oracles.convnet_score(p, v, t), gradient, x, *arrays)

    def gradient(image: Array, target: int) -> Array:
        return oracles.convnet_gradient(p, image, target)

    found = whence.Saliency().explain(model, given, TARGETS).numpy().attributions
    close(found, at_image(lambda f, df, v: oracles.saliency(df, v)), 1e-12)
    noise = 0.2 * drawn(normal, "noise_tunnel/0", x.shape[1:], channel_axis=0)[:3]
    smooth = whence.SmoothGrad(n_samples=3, stdev=0.2, relative=False, seed=SEED).explain(model, given, TARGETS)
    oracle = at_image(lambda f, df, v, e: oracles.smoothgrad(lambda u: oracles.saliency(df, u), v, e), noise)
    close(smooth.numpy().attributions, oracle, 1e-12)


@pytest.mark.parametrize(
    ("how", "method", "captums"),
    [("guided", whence.GuidedBackprop(), "GuidedBackprop"), ("deconvnet", whence.Deconvnet(), "Deconvolution")],
)
def test_through_relu(how: str, method: whence.Method, captums: str) -> None:
    attr = pytest.importorskip("captum.attr")
    p, x = oracle_models.convnet(), oracle_models.images()
    by_hand = np.stack([oracles.convnet_gradient(p, image, t, how) for image, t in zip(x, TARGETS, strict=True)])
    close(method.explain(convnet(p), torch.from_numpy(x), TARGETS).numpy().attributions, by_hand, 1e-12)
    theirs = getattr(attr, captums)(convnet(p)).attribute(torch.from_numpy(x).requires_grad_(), torch.tensor(TARGETS))
    close(theirs.detach().numpy(), by_hand, 1e-12)


def test_guided_grad_cam() -> None:
    """Guided backprop by hand, times Grad-CAM; Captum's is the same with its own upsampling."""
    attr = pytest.importorskip("captum.attr")
    p, x = oracle_models.convnet(), oracle_models.images()
    model, given = convnet(p), torch.from_numpy(x)
    by_hand = np.stack([oracles.convnet_gradient(p, image, t, "guided") for image, t in zip(x, TARGETS, strict=True)])
    found = whence.GuidedGradCAM(layer="0", upsample="nearest").explain(model, given, TARGETS).numpy().attributions
    cam = whence.GradCAM(layer="0", upsample="nearest").explain(model, given, TARGETS).numpy().attributions
    close(found, by_hand * cam[:, None], 1e-12)
    theirs = attr.GuidedGradCam(model, model[0]).attribute(given.clone().requires_grad_(), torch.tensor(TARGETS))
    close(theirs.detach().numpy(), by_hand * captum_map(model, given), 1e-12)
    with pytest.raises(whence.errors.ParameterError, match="upsample"):
        whence.GuidedGradCAM(upsample="none")


def captum_map(model: nn.Module, x: torch.Tensor) -> Array:
    """Captum's map: it takes the nearest place by rounding down, ours by centres, which differ by a place at times."""
    attr = pytest.importorskip("captum.attr")
    cam = attr.LayerGradCam(model, model[0]).attribute(x, torch.tensor(TARGETS), relu_attributions=True)
    return np.asarray(attr.LayerAttribution.interpolate(cam, tuple(x.shape[2:])).detach())
