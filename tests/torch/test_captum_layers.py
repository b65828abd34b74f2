"""whence and Captum agree on what both offer at layers and of neurons, on the zoo's networks in float64."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import whence
from tests.zoo.inputs import inputs
from tests.zoo.torch_models import build

captum = pytest.importorskip("captum.attr")

TOLERANCE = 1e-6
"""Captum's points on the path are float32's."""
TARGETS = torch.tensor([3, 0])
PLACES = [("vgg", "conv3", (4, 5, 6)), ("resnet_same", "block1", (1, 7, 3)), ("vit", "blocks.0", (5, 11))]
CAPTUM_RULES = {
    "riemann_left": "riemann_left",
    "riemann_right": "riemann_right",
    "riemann_middle": "riemann_middle",
    "gauss_legendre": "gausslegendre",
}
places = pytest.mark.parametrize(("network", "layer", "neuron"), PLACES)
rules = pytest.mark.parametrize("rule", CAPTUM_RULES)


@cache
def model_of(network: str) -> nn.Module:
    return build(network, "float64")


@cache
def image(network: str) -> Tensor:
    return torch.from_numpy(inputs(network, len(TARGETS), "float64", seed=3))


def baseline(network: str) -> Tensor:
    return 0.3 * image(network).flip(0)


def explained(method: whence.Method, network: str) -> Tensor:
    return method.explain(model_of(network), image(network), TARGETS, batch_size=5).attributions


def layer_of(network: str, layer: str) -> nn.Module:
    return model_of(network).get_submodule(layer)


def agree(ours: Tensor, theirs: Any) -> None:
    theirs = theirs.detach()
    assert ours.shape == theirs.shape and theirs.abs().max() > 0
    assert (ours - theirs).abs().max() <= TOLERANCE * theirs.abs().max()


@pytest.mark.parametrize(("network", "layer"), [("vgg", "relu4"), ("vgg", "conv3"), ("resnet_same", "block2")])
@pytest.mark.parametrize("relu", [True, False])
def test_layer_grad_cam(network: str, layer: str, relu: bool) -> None:
    theirs = captum.LayerGradCam(model_of(network), layer_of(network, layer))
    theirs = theirs.attribute(image(network), TARGETS, relu_attributions=relu)
    agree(explained(whence.GradCAM(layer=layer, relu=relu, upsample="none"), network), theirs[:, 0])
    enlarged = captum.LayerAttribution.interpolate(theirs, (32, 32), "bilinear")
    agree(explained(whence.GradCAM(layer=layer, relu=relu), network), enlarged[:, 0])


@places
def test_layer_activation(network: str, layer: str, neuron: tuple[int, ...]) -> None:
    theirs = captum.LayerActivation(model_of(network), layer_of(network, layer))
    found = explained(whence.Activations(layers=[layer, f"{layer}:in"]), network)
    agree(found[layer], theirs.attribute(image(network)))
    agree(found[f"{layer}:in"], theirs.attribute(image(network), attribute_to_layer_input=True))


@places
def test_layer_conductance(network: str, layer: str, neuron: tuple[int, ...]) -> None:
    """Captum takes the gradient at the left end of each step; its trapezoid points are the ones from 0 to 1."""
    theirs = captum.LayerConductance(model_of(network), layer_of(network, layer))
    theirs, delta = theirs.attribute(
        image(network),
        baseline(network),
        TARGETS,
        n_steps=8,
        method="riemann_trapezoid",
        return_convergence_delta=True,
    )
    method = whence.LayerConductance(layer=layer, baseline=baseline(network), n_steps=8, rule="riemann_left")
    agree(explained(method, network), theirs)
    found = method.explain(model_of(network), image(network), TARGETS)
    agree(found.delta, delta)


@places
@rules
@pytest.mark.parametrize(
    "theirs, ours",
    [
        (captum.InternalInfluence, whence.InternalInfluence),
        (captum.LayerIntegratedGradients, whence.IntegratedGradients),
    ],
    ids=["internal influence", "integrated gradients"],
)
def test_layer_path_methods(
    network: str, layer: str, neuron: tuple[int, ...], rule: str, theirs: type, ours: type[whence.Method]
) -> None:
    path = theirs(model_of(network), layer_of(network, layer))
    wanted = path.attribute(image(network), baseline(network), TARGETS, n_steps=8, method=CAPTUM_RULES[rule])
    method = ours(layer=layer, baseline=baseline(network), n_steps=8, rule=rule)  # type: ignore[call-arg]
    agree(explained(method, network), wanted)


@places
def test_neuron_gradient(network: str, layer: str, neuron: tuple[int, ...]) -> None:
    theirs = captum.NeuronGradient(model_of(network), layer_of(network, layer)).attribute(image(network), neuron)
    ours = whence.Saliency(neuron=(layer, neuron)).explain(model_of(network), image(network))
    agree(ours.attributions, theirs)


@places
@rules
def test_neuron_integrated_gradients(network: str, layer: str, neuron: tuple[int, ...], rule: str) -> None:
    theirs = captum.NeuronIntegratedGradients(model_of(network), layer_of(network, layer))
    theirs = theirs.attribute(image(network), neuron, baseline(network), n_steps=8, method=CAPTUM_RULES[rule])
    method = whence.IntegratedGradients(neuron=(layer, neuron), baseline=baseline(network), n_steps=8, rule=rule)
    agree(method.explain(model_of(network), image(network)).attributions, theirs)
