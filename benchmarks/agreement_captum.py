"""The same attributions from whence and from Captum, in one process on the same PyTorch models.

In float64: in float32 the two round the points of a path differently, and where a point falls on the other side of a
kink of a ReLU or a pooling, the gradient jumps, by up to 1e-4 of the largest attribution seen here.
Captum's trapezoid weights add up to (n - 1) / n instead of one: its result is divided by that before it is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import captum.attr as captum
import torch
from torch import Tensor, nn

import whence
from benchmarks import report
from tests.zoo.inputs import inputs
from tests.zoo.torch_models import build

TOLERANCE = 1e-5
STEPS, BATCH, DTYPE = 10, 2, "float64"
CAPTUM_RULES = {
    "riemann_left": "riemann_left",
    "riemann_right": "riemann_right",
    "riemann_middle": "riemann_middle",
    "riemann_trapezoid": "riemann_trapezoid",
    "gauss_legendre": "gausslegendre",
}


@dataclass(frozen=True)
class Network:
    """One of the zoo's networks, with a layer and a neuron of it; token ids are attributed at ``embedding`` alone."""

    name: str
    layer: str
    neuron: tuple[int, ...]
    options: Mapping[str, int] = field(default_factory=dict)
    embedding: str | None = None


NETWORKS = (
    Network("digits_cnn", "conv2", (5, 3, 4)),
    Network("resnet", "stage2.0.conv1", (7, 2, 3), {"image": 64, "width": 16}),
    Network("vit", "blocks.0", (0, 11)),
    Network("text", "conv1", (9, 6), embedding="embedding"),
)


@dataclass(frozen=True)
class Comparison:
    """One attribution in both libraries."""

    name: str
    ours: Callable[[], Tensor]
    theirs: Callable[[], Tensor]

    def difference(self) -> float:
        """The largest difference over the largest value."""
        ours, theirs = self.ours(), self.theirs()
        assert ours.shape == theirs.shape, f"shapes differ: {tuple(ours.shape)} and {tuple(theirs.shape)}"
        scale = theirs.abs().max()
        assert scale > 0, "nothing to compare: every attribution is zero"
        return ((ours - theirs).abs().max() / scale).item()


def measure() -> None:
    """Compare everything and write the table."""
    rows, worst = [], 0.0
    for network in NETWORKS:
        for comparison in comparisons(network):
            difference = comparison.difference()
            rows.append([network.name, comparison.name, f"{difference:.1e}"])
            worst = max(worst, difference)
    report.write(
        "agreement_captum",
        report.head(
            "Agreement with Captum",
            "agreement_captum",
            ("torch", "captum"),
            f"Largest difference over the largest attribution; batch {BATCH}, {STEPS} steps, {DTYPE}.",
        ),
        report.table(["network", "attribution", "relative difference"], rows),
        f"Worst of {len(rows)}: {worst:.1e} (target: {TOLERANCE:.0e}).",
    )


def comparisons(network: Network) -> Iterator[Comparison]:
    """Every attribution of the network that both libraries offer."""
    model = build(network.name, DTYPE, **network.options)
    x = torch.from_numpy(inputs(network.name, BATCH, DTYPE, **network.options))
    baseline = 0.3 * x.flip(0) if x.is_floating_point() else torch.zeros_like(x)
    target = torch.tensor([1, 0])
    if network.embedding:
        yield from _at_layer(model, x, baseline, target, network.embedding)
    else:
        yield from _at_input(model, x, baseline, target)
        yield from _of_neuron(model, x, baseline, network)
    yield from _at_layer(model, x, baseline, target, network.layer)


def _at_input(model: nn.Module, x: Tensor, baseline: Tensor, target: Tensor) -> Iterator[Comparison]:
    path = captum.IntegratedGradients(model)
    yield Comparison(
        "Saliency",
        lambda: whence.Saliency().explain(model, x, target).attributions,
        lambda: captum.Saliency(model).attribute(x, target, abs=False),
    )
    yield Comparison(
        "InputXGradient",
        lambda: whence.InputXGradient().explain(model, x, target).attributions,
        lambda: captum.InputXGradient(model).attribute(x, target),
    )
    if any(isinstance(module, nn.ReLU) for module in model.modules()):
        yield Comparison(
            "GuidedBackprop",
            lambda: whence.GuidedBackprop().explain(model, x, target).attributions,
            lambda: captum.GuidedBackprop(model).attribute(x.clone().requires_grad_(), target),
        )
        yield Comparison(
            "Deconvnet",
            lambda: whence.Deconvnet().explain(model, x, target).attributions,
            lambda: captum.Deconvolution(model).attribute(x.clone().requires_grad_(), target),
        )
    for rule in CAPTUM_RULES:
        yield Comparison(
            f"IntegratedGradients, {rule}",
            lambda rule=rule: _path(rule, baseline).explain(model, x, target).attributions,
            lambda rule=rule: path.attribute(x, baseline, target, **_captum_path(rule)) / _captum_sum(rule),
        )


def _at_layer(model: nn.Module, x: Tensor, baseline: Tensor, target: Tensor, layer: str) -> Iterator[Comparison]:
    path = captum.LayerIntegratedGradients(model, model.get_submodule(layer))
    product = captum.LayerGradientXActivation(model, model.get_submodule(layer))
    yield Comparison(
        f"InputXGradient at {layer}",
        lambda: whence.InputXGradient(layer=layer).explain(model, x, target).attributions,
        lambda: product.attribute(x, target),
    )
    for rule in CAPTUM_RULES:
        yield Comparison(
            f"IntegratedGradients at {layer}, {rule}",
            lambda rule=rule: _path(rule, baseline, layer=layer).explain(model, x, target).attributions,
            lambda rule=rule: path.attribute(x, baseline, target, **_captum_path(rule)) / _captum_sum(rule),
        )


def _of_neuron(model: nn.Module, x: Tensor, baseline: Tensor, network: Network) -> Iterator[Comparison]:
    layer, neuron = model.get_submodule(network.layer), (network.layer, network.neuron)
    gradient, path = captum.NeuronGradient(model, layer), captum.NeuronIntegratedGradients(model, layer)
    shown = f"{network.layer}[{', '.join(map(str, network.neuron))}]"
    yield Comparison(
        f"Saliency of {shown}",
        lambda: whence.Saliency(neuron=neuron).explain(model, x).attributions,
        lambda: gradient.attribute(x, network.neuron),
    )
    for rule in CAPTUM_RULES:
        yield Comparison(
            f"IntegratedGradients of {shown}, {rule}",
            lambda rule=rule: _path(rule, baseline, neuron=neuron).explain(model, x).attributions,
            lambda rule=rule: path.attribute(x, network.neuron, baseline, **_captum_path(rule)) / _captum_sum(rule),
        )


def _path(rule: str, baseline: Tensor, **place: object) -> whence.IntegratedGradients:
    return whence.IntegratedGradients(rule=rule, n_steps=STEPS, baseline=baseline, **place)


def _captum_path(rule: str) -> dict[str, object]:
    return {"n_steps": STEPS, "method": CAPTUM_RULES[rule]}


def _captum_sum(rule: str) -> float:
    """What Captum's weights add up to."""
    return 1 - 1 / STEPS if rule == "riemann_trapezoid" else 1.0
