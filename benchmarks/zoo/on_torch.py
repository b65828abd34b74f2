"""Networks of timm and torchvision, in float64, with random weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from benchmarks.zoo.nets import Architecture, Missing, Net
from benchmarks.zoo.weights import BATCH, CLASSES, count, draw, is_narrow

TITLE = "PyTorch"
PACKAGES = ("torch", "timm", "torchvision")
INSTALL = "pip install 'whence[zoo]'"
TIMM: dict[str, tuple[int, dict[str, Any]]] = {
    "resnet18": (64, {}), "resnet26d": (64, {}), "seresnet18": (64, {}), "resnext26ts": (64, {}),
    "res2net50_14w_8s": (64, {}), "densenet121": (64, {}), "dla34": (64, {}),
    "mobilenetv3_small_100": (64, {}), "efficientnet_b0": (64, {}), "regnetx_002": (64, {}), "ghostnet_100": (64, {}),
    "inception_v3": (96, {}), "nf_resnet26": (64, {}), "repvgg_a0": (64, {}), "convnext_atto": (64, {}),
    "convnextv2_atto": (64, {}), "poolformer_s12": (64, {}), "mobilevit_xxs": (64, {}), "mobilevitv2_050": (64, {}),
    "edgenext_xx_small": (64, {}), "levit_128s": (64, {"img_size": 64}),
    "vit_tiny_patch16_224": (64, {"img_size": 64}), "deit_tiny_distilled_patch16_224": (64, {"img_size": 64}),
    "swin_tiny_patch4_window7_224": (64, {"img_size": 64}), "mixer_s32_224": (64, {"img_size": 64}),
    "xcit_nano_12_p16_224": (64, {}),
}  # fmt: skip
"""By name: the image's size, and options."""
TORCHVISION = ("alexnet", "squeezenet1_1", "googlenet", "shufflenet_v2_x0_5", "mnasnet0_5", "mobilenet_v2")
KERNELS = ("nms", "qnms")


def architectures() -> Iterator[Architecture | Missing]:
    """All networks of the libraries that are there."""
    torch.set_num_threads(1)
    without_kernels()
    for library, found in (("timm", _timm), ("torchvision", _torchvision)):
        if find_spec(library) is None:
            yield Missing(library, INSTALL)
        else:
            yield from found()


def without_kernels() -> None:
    """Let torchvision be imported where its kernels, which no classifier uses, do not fit the build of PyTorch."""
    if find_spec("torchvision") is None:
        return
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for kernel in KERNELS:
            torch.library.define(f"torchvision::{kernel}", "(Tensor boxes, Tensor scores, float least) -> Tensor")


def _timm() -> Iterator[Architecture]:
    import timm

    for name, (size, options) in TIMM.items():
        make = partial(timm.create_model, name, pretrained=False, num_classes=CLASSES, **options)
        yield Architecture(name, "timm", partial(_of_images, make, size))


def _torchvision() -> Iterator[Architecture]:
    from torchvision import models

    for name in TORCHVISION:
        options = {"init_weights": True} if name == "googlenet" else {}
        make = partial(models.get_model, name, num_classes=CLASSES, **options)
        yield Architecture(name, "torchvision", partial(_of_images, make, 96))


def _of_images(make: Callable[[], nn.Module], size: int) -> Net:
    torch.manual_seed(0)
    model, x = make().double(), torch.randn(BATCH, 3, size, size, dtype=torch.float64)
    draw(model, x)
    return Net(model, x, count(model), is_narrow(model, x))
