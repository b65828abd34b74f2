"""The same weights on every framework: maps and layer attributions of every method, put side by side.

``python -m tests.cam_agreement RUNTIME OUT.npz [networks] [--dtype]`` explains the zoo on one runtime, as
``tests.agreement`` does for the gradient methods.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

import whence
from tests.agreement import build, main
from tests.rounding import rounded
from tests.zoo.inputs import inputs, to_channels_last
from tests.zoo.layers import LAYERS

NETWORKS: dict[str, dict[str, int]] = {
    "vgg": {},
    "vgg_gap": {},
    "resnet_same": {},
    "nested": {},
    "vit": {},
}
EFFICIENTNET = "efficientnet_b0"
"""Of keras.applications, in float32; unless ``all=1`` by a method of each engine, as compiling takes most time."""
SEED = 5
"""Of images with which no threshold flips in float32, and no sum that XGradCAM divides by is all but zero."""
POOLED = ("vgg_gap", "resnet_same", "nested", EFFICIENTNET)
"""Networks with a linear head on the mean over positions of their last layer."""
WITHOUT_RELU = ("vit", EFFICIENTNET)


def methods(network: str, names: tuple[str, ...], image: int) -> Iterator[tuple[str, whence.Method]]:
    """(label, method) of every method; ``names`` are the network's layers in one framework."""
    at: dict[str, Any] = {"layer": names[-1]}
    if network == "vit":
        at["tokens"] = whence.TokenGrid()
    yield "grad_cam", whence.GradCAM(**at)
    yield "grad_cam of all layers", whence.GradCAM(**{**at, "layer": names}, normalize="min_max")
    yield "grad_cam_plus_plus", whence.GradCAMPlusPlus(**at)
    yield "hires_cam", whence.HiResCAM(**at)
    yield "hires_cam, nearest", whence.HiResCAM(**at, upsample="nearest", size=(image - 5, image + 4))
    yield "xgrad_cam", whence.XGradCAM(**at)
    yield "layer_cam, coarse", whence.LayerCAM(**at, upsample="none")
    yield "layer_cam, smaller", whence.LayerCAM(**at, size=(image // 2 - 1, image // 3), normalize="max")
    yield "eigen_cam", whence.EigenCAM(**at)
    yield "eigen_grad_cam", whence.EigenGradCAM(**at)
    yield "score_cam", whence.ScoreCAM(**at, channels=6)
    yield "ablation_cam", whence.AblationCAM(**at, channels=6)
    yield "full_grad", whence.FullGrad()
    if network not in WITHOUT_RELU:
        yield "guided_grad_cam", whence.GuidedGradCAM(layer=names[-1])
    if network in POOLED:
        yield "cam", whence.CAM(**at)
    yield "activations", whence.Activations(layers=list(names))
    yield "layer_conductance", whence.LayerConductance(layer=names[0], n_steps=4)
    yield "internal_influence", whence.InternalInfluence(layer=names[0], n_steps=4)


def efficientnet_methods(names: tuple[str, ...]) -> Iterator[tuple[str, whence.Method]]:
    """(label, method) of those that EfficientNetB0 is explained by."""
    yield "grad_cam", whence.GradCAM(layer=names)
    yield "layer_cam", whence.LayerCAM(layer=names)
    yield "eigen_cam", whence.EigenCAM(layer=names[0])
    yield "score_cam", whence.ScoreCAM(layer=names[-1], channels=4)
    yield "activations", whence.Activations(layers=list(names))


def subject(
    runtime: str, network: str, dtype: str, batch: int, options: dict[str, int]
) -> tuple[Any, np.ndarray, list[tuple[str, whence.Method]]]:
    """A network on one runtime, its images, and the methods to explain it by."""
    if network == EFFICIENTNET:
        from tests.zoo import keras_applications as application

        x = inputs("resnet", batch, dtype, SEED, image=application.IMAGE)
        names = application.LAYERS
        explained_by = methods(network, names, application.IMAGE) if options.get("all") else efficientnet_methods(names)
        return application.efficientnet_b0(dtype), to_channels_last(255 * x), list(explained_by)
    x = inputs(network, batch, dtype, SEED, **options)
    names = LAYERS[network]["keras" if runtime.startswith("keras-") else runtime]
    image = x if runtime == "torch" else to_channels_last(x)
    return build(runtime, network, dtype, options), image, list(methods(network, names, x.shape[-1]))


def explain(
    runtime: str,
    dtype: str,
    networks: dict[str, dict[str, int]],
    *,
    batch: int,
    only: str = "",
    draw: int | None = None,
) -> dict[str, np.ndarray]:
    """Attributions channels first, by "network/method", and the networks' own outputs by "network/output"."""
    found: dict[str, np.ndarray] = {}
    for network, options in networks.items():
        built, x, explained_by = subject(runtime, network, dtype, batch, options)
        built, x = rounded(draw, built, x)
        model = whence.wrap(built)
        with model.hold():
            found[f"{network}/output"] = model.ops.to_numpy(model.run(model.place(x))[0])
        for label, method in explained_by:
            if only and only.rpartition("/")[0] != f"{network}/{label}":
                continue
            values = method.explain(model, x, [i % 4 for i in range(batch)]).attributions
            parts = list(values.values()) if isinstance(values, dict) else [values]
            for i, part in enumerate(parts):
                moved = np.moveaxis(part, -1, 1) if part.ndim == 4 and runtime != "torch" else part
                found[f"{network}/{label}/{i}"] = moved
    return found


if __name__ == "__main__":
    main(explain, NETWORKS)
