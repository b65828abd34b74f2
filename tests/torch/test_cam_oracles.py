"""The CAM family and the layer methods on PyTorch against float64 re-implementations from their papers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import whence
from tests import cam_oracles, oracles
from tests.cam_oracles import Array, Layer, finish, score_of
from tests.method_oracles import close
from tests.zoo.inputs import inputs
from tests.zoo.layers import LAYERS
from tests.zoo.torch_models import build
from whence.errors import LayerError

PRECISION = 1e-10
NETWORKS = ("vgg", "vgg_gap", "resnet_same", "nested")
SIZE = (32, 32)
TARGETS = [3, 0, 7]
DEAD = (0, 5)
"""Channels of vgg's last maps that are zero everywhere."""


@cache
def model_of(network: str) -> nn.Module:
    model = build(network, "float64")
    if network == "vgg":
        with torch.no_grad():
            model.conv4.bias[list(DEAD)] = -100.0
    return model


@dataclass(frozen=True)
class Example:
    """One image in one network, seen at one layer."""

    network: str
    index: int
    layer: str

    @cached_property
    def at(self) -> Layer:
        return Layer(model_of(self.network), self.layer)

    @cached_property
    def x(self) -> Array:
        return inputs(self.network, len(TARGETS), "float64")[self.index]

    @property
    def target(self) -> int:
        return TARGETS[self.index]

    @cached_property
    def seen(self) -> tuple[Array, Array]:
        return self.at.activation_and_gradient(self.x, self.target)

    @property
    def A(self) -> Array:
        return self.seen[0]

    @property
    def g(self) -> Array:
        return self.seen[1]

    def score(self, x: Array) -> float:
        return score_of(model_of(self.network), x, self.target)

    def score_of_activation(self, activation: Array) -> float:
        return self.at.score_of_activation(self.x, self.target)(activation)

    def along(self, x: Array) -> tuple[Array, Array]:
        return self.at.activation_and_gradient(x, self.target)


@cache
def examples(network: str, layer: str) -> list[Example]:
    return [Example(network, index, layer) for index in range(len(TARGETS))]


def explained(method: whence.Method, network: str, target: Any = TARGETS, **options: Any) -> Any:
    x = torch.from_numpy(inputs(network, len(TARGETS), "float64"))
    return method.explain(model_of(network), x, target, **options).attributions


def expected(network: str, layers: tuple[str, ...], raw: Callable[[Example], Array], **finishing: Any) -> Array:
    return np.stack([finish([raw(e) for e in by_layer], **{"size": SIZE, **finishing})
                     for by_layer in zip(*(examples(network, layer) for layer in layers), strict=True)])  # fmt: skip


def last(network: str) -> str:
    return LAYERS[network]["torch"][-1]


MAPS: dict[str, tuple[Callable[..., whence.Method], bool, Callable[[Example], Array]]] = {
    "GradCAM": (whence.GradCAM, True, lambda e: cam_oracles.grad_cam(e.A, e.g)),
    "GradCAMPlusPlus": (whence.GradCAMPlusPlus, True, lambda e: cam_oracles.grad_cam_plus_plus(e.A, e.g)),
    "HiResCAM": (whence.HiResCAM, False, lambda e: cam_oracles.hires_cam(e.A, e.g)),
    "XGradCAM": (whence.XGradCAM, True, lambda e: cam_oracles.x_grad_cam(e.A, e.g)),
    "LayerCAM": (whence.LayerCAM, True, lambda e: cam_oracles.layer_cam(e.A, e.g)),
    "ScoreCAM": (whence.ScoreCAM, True, lambda e: cam_oracles.score_cam(e.A, e.x, e.score)),
    "AblationCAM": (whence.AblationCAM, True, lambda e: cam_oracles.ablation_cam(e.A, e.score_of_activation)),
    "EigenCAM": (whence.EigenCAM, False, lambda e: cam_oracles.eigen_cam(e.A)),
    "EigenGradCAM": (whence.EigenGradCAM, False, lambda e: cam_oracles.eigen_grad_cam(e.A, e.g)),
}
"""The method, whether its map is rectified unless told otherwise, and the raw map of its paper."""


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", MAPS)
def test_map_is_what_its_paper_says(name: str, network: str) -> None:
    method, rectified, raw = MAPS[name]
    found = explained(method(layer=last(network)), network, batch_size=2)
    assert isinstance(found, torch.Tensor) and found.dtype == torch.float64
    close(found.numpy(), expected(network, (last(network),), raw, rectified=rectified), PRECISION)


@pytest.mark.parametrize("name", MAPS)
def test_map_on_tokens(name: str) -> None:
    """Patches of a vision transformer are an image, without the class token."""
    _, rectified, _ = MAPS[name]
    network, layer = "vit", "blocks.1.norm1"
    tokens = whence.TokenGrid(class_tokens=1, grid=(4, 4))
    raw = TOKEN_MAPS[name]
    found = explained(MAPS[name][0](layer=layer, tokens=tokens), network)
    close(found.numpy(), expected(network, (layer,), raw, rectified=rectified), PRECISION)


def grid(tokens: Array) -> Array:
    return cam_oracles.on_grid(tokens, 1, (4, 4))


def scored_without(e: Example) -> Callable[[Array], float]:
    """The score of patches [K, h, w]; a channel that is zero on all of them is zero for the class token as well."""

    def score(patches: Array) -> float:
        tokens = np.concatenate([e.A[:1], patches.reshape(len(patches), -1).T])
        tokens[0, ~patches.any(axis=(1, 2))] = 0
        return e.score_of_activation(tokens)

    return score


TOKEN_MAPS: dict[str, Callable[[Example], Array]] = {
    "GradCAM": lambda e: cam_oracles.grad_cam(grid(e.A), grid(e.g)),
    "GradCAMPlusPlus": lambda e: cam_oracles.grad_cam_plus_plus(grid(e.A), grid(e.g)),
    "HiResCAM": lambda e: cam_oracles.hires_cam(grid(e.A), grid(e.g)),
    "XGradCAM": lambda e: cam_oracles.x_grad_cam(grid(e.A), grid(e.g)),
    "LayerCAM": lambda e: cam_oracles.layer_cam(grid(e.A), grid(e.g)),
    "ScoreCAM": lambda e: cam_oracles.score_cam(grid(e.A), e.x, e.score),
    "AblationCAM": lambda e: cam_oracles.ablation_cam(grid(e.A), scored_without(e)),
    "EigenCAM": lambda e: cam_oracles.eigen_cam(grid(e.A)),
    "EigenGradCAM": lambda e: cam_oracles.eigen_grad_cam(grid(e.A), grid(e.g)),
}


def test_tokens_are_inferred() -> None:
    layer = "blocks.1.norm1"
    told = explained(whence.GradCAM(layer=layer, tokens=whence.TokenGrid(class_tokens=1, grid=(4, 4))), "vit")
    assert torch.equal(explained(whence.GradCAM(layer=layer, tokens=whence.TokenGrid()), "vit"), told)
    with pytest.raises(LayerError, match="TokenGrid"):
        explained(whence.GradCAM(layer=layer), "vit")


OPTIONS: dict[str, tuple[whence.Method, Callable[[Example], Array], dict[str, Any]]] = {
    "unrectified": (
        whence.GradCAM(relu=False),
        lambda e: cam_oracles.grad_cam(e.A, e.g),
        {"rectified": False},
    ),
    "rectified": (
        whence.HiResCAM(relu=True),
        lambda e: cam_oracles.hires_cam(e.A, e.g),
        {"rectified": True},
    ),
    "coarse": (
        whence.XGradCAM(upsample="none", epsilon=0.5),
        lambda e: cam_oracles.x_grad_cam(e.A, e.g, epsilon=0.5),
        {"rectified": True, "upsample": "none"},
    ),
    "nearest of another size": (
        whence.LayerCAM(upsample="nearest", size=(21, 40)),
        lambda e: cam_oracles.layer_cam(e.A, e.g),
        {"rectified": True, "upsample": "nearest", "size": (21, 40)},
    ),
    "bilinear of another size": (
        whence.LayerCAM(size=(21, 9)),
        lambda e: cam_oracles.layer_cam(e.A, e.g),
        {"rectified": True, "size": (21, 9)},
    ),
    "min_max": (
        whence.GradCAM(relu=False, normalize="min_max"),
        lambda e: cam_oracles.grad_cam(e.A, e.g),
        {"rectified": False, "normalize": "min_max"},
    ),
    "max": (
        whence.HiResCAM(normalize="max"),
        lambda e: cam_oracles.hires_cam(e.A, e.g),
        {"rectified": False, "normalize": "max"},
    ),
    "grad_cam_plus_plus with the mean and epsilon": (
        whence.GradCAMPlusPlus(spatial="mean", epsilon=1e-3),
        lambda e: cam_oracles.grad_cam_plus_plus(e.A, e.g, epsilon=1e-3, mean=True),
        {"rectified": True},
    ),
    "grad_cam_plus_plus with normalized alpha": (
        whence.GradCAMPlusPlus(normalize_alpha=True),
        lambda e: cam_oracles.grad_cam_plus_plus(e.A, e.g, normalize_alpha=True),
        {"rectified": True},
    ),
    "score_cam by increase over a baseline": (
        whence.ScoreCAM(weights="increase", baseline=0.3, relu=False),
        lambda e: cam_oracles.score_cam(e.A, e.x, e.score, "increase", 0.3),
        {"rectified": False},
    ),
    "score_cam by score, some channels": (
        whence.ScoreCAM(weights="score", channels=5, relu=False),
        lambda e: cam_oracles.score_cam(e.A, e.x, e.score, "score", channels=5),
        {"rectified": False},
    ),
    "ablation_cam, some channels": (
        whence.AblationCAM(channels=5, relu=False),
        lambda e: cam_oracles.ablation_cam(e.A, e.score_of_activation, channels=5),
        {"rectified": False},
    ),
    "eigen_cam not centred": (
        whence.EigenCAM(center=False),
        lambda e: cam_oracles.eigen_cam(e.A, center=False),
        {"rectified": False},
    ),
    "eigen_grad_cam not centred": (
        whence.EigenGradCAM(center=False),
        lambda e: cam_oracles.eigen_grad_cam(e.A, e.g, center=False),
        {"rectified": False},
    ),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_option(case: str) -> None:
    method, raw, finishing = OPTIONS[case]
    found = explained(replace(method, layer="relu4"), "vgg")
    close(found.numpy(), expected("vgg", ("relu4",), raw, **finishing), PRECISION)


def test_maps_of_several_layers_are_averaged() -> None:
    layers = LAYERS["resnet_same"]["torch"]
    for normalize in ("none", "min_max"):
        found = explained(whence.GradCAM(layer=layers, normalize=normalize), "resnet_same")
        wanted = expected("resnet_same", layers, MAPS["GradCAM"][2], rectified=True, normalize=normalize)
        close(found.numpy(), wanted, PRECISION)


@pytest.mark.filterwarnings("ignore::whence.core.errors.ZeroAttributionWarning")
def test_a_sample_without_score_or_gradient_has_a_map_of_zeros_alone_as_among_others() -> None:
    def saturated(outputs: torch.Tensor) -> torch.Tensor:
        return outputs[:, 3].clamp(min=0.0)

    model, x = model_of("vgg"), torch.from_numpy(inputs("vgg", len(TARGETS), "float64"))
    flat = saturated(model(x)) == 0
    assert flat.any() and not flat.all()
    for method in (
        whence.GradCAM(layer="relu4", normalize="min_max"),
        whence.GradCAM(layer="relu4", normalize="max"),
        whence.GradCAMPlusPlus(layer="relu4"),
        whence.XGradCAM(layer="relu4"),
        whence.AblationCAM(layer="relu4"),
        whence.EigenGradCAM(layer="relu4"),
    ):
        found = method.explain(model, x, saturated).attributions
        assert (found.flatten(1).abs().amax(1) == 0).equal(flat)
        alone = [method.explain(model, x[i : i + 1], saturated).attributions for i in range(len(x))]
        close(torch.cat(alone).numpy(), found.numpy(), 1e-12)


# CAM: the weights of the head


def head_row(e: Example) -> Array:
    return model_of(e.network).head.weight[e.target].detach().numpy()


@pytest.mark.parametrize("network", ["vgg_gap", "resnet_same", "nested"])
def test_cam_finds_the_weights_of_the_head(network: str) -> None:
    wanted = expected(network, (last(network),), lambda e: cam_oracles.cam(e.A, head_row(e)), rectified=False)
    close(explained(whence.CAM(layer=last(network)), network).numpy(), wanted, PRECISION)
    told = whence.CAM(layer=last(network), weights=model_of(network).head.weight.detach().numpy())
    close(explained(told, network).numpy(), wanted, PRECISION)


@pytest.mark.parametrize(("network", "layer"), [("vgg", "relu4"), ("vgg_gap", "conv4"), ("vgg_gap", "relu2")])
def test_cam_refuses_another_head(network: str, layer: str) -> None:
    with pytest.raises(LayerError, match=layer):
        explained(whence.CAM(layer=layer), network)


# FullGrad


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("rescale", [True, False])
def test_full_grad(network: str, rescale: bool) -> None:
    rows = examples(network, last(network))
    terms = [cam_oracles.full_grad_terms(model_of(network), e.x, e.target) for e in rows]
    wanted = np.stack([cam_oracles.full_grad(t, rescale) for t in terms])
    close(explained(whence.FullGrad(rescale=rescale), network).numpy(), wanted, PRECISION)


# Layers


def test_activations() -> None:
    rows = {layer: examples("vgg", layer) for layer in ("relu2", "conv3")}
    by_name = {layer: np.stack([e.A for e in of_layer]) for layer, of_layer in rows.items()}
    found = explained(whence.Activations(layers=["relu2", "conv3", "conv3:in"]), "vgg")
    assert list(found) == ["relu2", "conv3", "conv3:in"]
    for layer, value in by_name.items():
        close(found[layer].numpy(), value, PRECISION)
    pooled = F.max_pool2d(torch.from_numpy(by_name["relu2"]), 2).numpy()
    close(found["conv3:in"].numpy(), pooled, PRECISION)
    parts = {"relu2": 3, "conv3": [4, 1], "relu4": (2, 5, 6)}
    found = explained(whence.Activations(layers=parts), "vgg")
    close(found["relu2"].numpy(), by_name["relu2"][:, [3]], PRECISION)
    close(found["conv3"].numpy(), by_name["conv3"][:, [4, 1]], PRECISION)
    unit = np.stack([e.A[2, 5, 6] for e in examples("vgg", "relu4")])
    close(found["relu4"].numpy(), unit, PRECISION)


def test_activations_of_a_reused_layer() -> None:
    relu = nn.ReLU()
    model = nn.Sequential(nn.Linear(4, 5), relu, nn.Linear(5, 6), relu, nn.Linear(6, 3)).double().eval()
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 4)))
    found = whence.Activations(layers=["1:0", "1:1"]).explain(model, x, 0).attributions
    with torch.no_grad():
        assert torch.equal(found["1:0"], model[:2](x)) and torch.equal(found["1:1"], model[:4](x))
    with pytest.raises(LayerError, match="1:0, 1:1"):
        whence.Activations(layers=["1"]).explain(model, x, 0)


RULES = ("riemann_trapezoid", "riemann_left", "riemann_right")
PATHS = [("vgg", "conv3"), ("resnet_same", "block1"), ("nested", "backbone"), ("vit", "blocks.0")]


@pytest.mark.parametrize(("network", "layer"), PATHS)
def test_conductance(network: str, layer: str) -> None:
    baseline, n_steps = 0.1 * inputs(network, len(TARGETS), "float64", seed=9), 4
    alphas = [k / n_steps for k in range(n_steps + 1)]
    points = [[e.along(v) for v in cam_oracles.path(e.x, baseline[e.index], alphas)] for e in examples(network, layer)]
    for rule in RULES:
        given = torch.from_numpy(baseline)
        method = whence.LayerConductance(layer=layer, baseline=given, n_steps=n_steps, rule=rule)
        wanted = np.stack([cam_oracles.conductance(of_one, rule) for of_one in points])
        close(explained(method, network, batch_size=4).numpy(), wanted, PRECISION)


def test_conductance_reports_its_gap() -> None:
    x = torch.from_numpy(inputs("nested", len(TARGETS), "float64"))
    found = whence.LayerConductance(layer="backbone", n_steps=9).explain(model_of("nested"), x, TARGETS)
    for e, attribution, delta in zip(examples("nested", "backbone"), found.attributions, found.delta, strict=True):
        gap = oracles.completeness_gap(e.score, attribution.numpy()[None], e.x[None], 0 * e.x[None])
        assert abs(delta.item() - gap[0]) <= PRECISION
        assert abs(gap[0]) <= 1e-9, "the score is linear in this layer, and the sum telescopes"


@pytest.mark.parametrize(("network", "layer"), PATHS)
@pytest.mark.parametrize("rule", ["riemann_trapezoid", "gauss_legendre"])
def test_internal_influence(rule: str, network: str, layer: str) -> None:
    alphas, weights = oracles.rule(rule, 3)
    wanted = []
    for e in examples(network, layer):
        gradients = [e.along(v)[1] for v in cam_oracles.path(e.x, 0 * e.x, alphas)]
        wanted.append(cam_oracles.internal_influence(gradients, weights))
    method = whence.InternalInfluence(layer=layer, n_steps=3, rule=rule)
    for batch_size in (2, 7, None):
        close(explained(method, network, batch_size=batch_size).numpy(), np.stack(wanted), PRECISION)


# The oracles themselves


@pytest.mark.parametrize(("before", "after"), [((5, 7), (11, 32)), ((16, 16), (32, 32)), ((9, 8), (4, 5))])
def test_resizing_is_pytorchs(before: tuple[int, int], after: tuple[int, int]) -> None:
    m = np.random.default_rng(0).normal(size=before)
    given = torch.from_numpy(m)[None, None]
    close(cam_oracles.bilinear(m, after), F.interpolate(given, after, mode="bilinear")[0, 0].numpy(), 1e-14)
    close(cam_oracles.nearest(m, after), F.interpolate(given, after, mode="nearest-exact")[0, 0].numpy(), 0.0)


def test_full_gradients_add_up() -> None:
    """Srinivas & Fleuret 2019, proposition 1, where the only bias without positions is the head's."""
    for network in ("vgg_gap", "resnet_same", "nested"):
        for e in examples(network, last(network)):
            terms = cam_oracles.full_grad_terms(model_of(network), e.x, e.target)
            head = model_of(network).head.bias[e.target].item()
            assert abs(sum(term.sum() for term in terms) + head - e.score(e.x)) <= 1e-12
