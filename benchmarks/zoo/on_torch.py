"""Networks of timm, torchvision and transformers, in float64, with random weights."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

import whence
from benchmarks.zoo.nets import Architecture, Missing, Net

TITLE = "PyTorch"
PACKAGES = ("torch", "timm", "torchvision", "transformers")
BATCH, CLASSES, SPREAD = 2, 10, 0.1
END = 1
"""The token that ends a text."""
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
SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 50,
    "max_position_embeddings": 64, "num_labels": CLASSES, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": END,
}  # fmt: skip
TEXTS: dict[str, tuple[str, dict[str, Any]]] = {
    "Bert": ("bert.embeddings.word_embeddings", {}),
    "Roberta": ("roberta.embeddings.word_embeddings", {}),
    "Albert": ("albert.embeddings.word_embeddings", {"embedding_size": 16}),
    "Electra": ("electra.embeddings.word_embeddings", {"embedding_size": 32}),
    "DistilBert": ("distilbert.embeddings.word_embeddings", {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}),
    "DebertaV2": ("deberta.embeddings.word_embeddings", {}),
    "ModernBert": ("model.embeddings.tok_embeddings", {}),
    "GPT2": ("transformer.wte", {"n_embd": 32, "n_layer": 2, "n_head": 4}),
    "T5": ("transformer.encoder.embed_tokens", {
        "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0,
    }),
    "Llama": ("model.embed_tokens", {"num_key_value_heads": 2}),
    "Qwen2": ("model.embed_tokens", {"num_key_value_heads": 2}),
}  # fmt: skip
"""Classifiers of texts by the beginning of their name: the embedding, and sizes under other names than usual."""
IMAGES: dict[str, dict[str, Any]] = {
    "ViT": {"image_size": 32, "patch_size": 8, **SIZES},
    "ConvNext": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 2, 1], "num_labels": CLASSES},
    "ResNet": {"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "num_labels": CLASSES},
}
ATTENTION = ("eager", "sdpa")
EAGER_ONLY = ("DebertaV2", "T5")


def architectures() -> Iterator[Architecture | Missing]:
    """All networks of the libraries that are there."""
    torch.set_num_threads(1)
    _without_kernels()
    for library, found in (("timm", _timm), ("torchvision", _torchvision), ("transformers", _transformers)):
        if find_spec(library) is None:
            yield Missing(library, "pip install 'whence[zoo]'")
        else:
            yield from found()


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


def _transformers() -> Iterator[Architecture]:
    import transformers

    for name, (embedding, options) in TEXTS.items():
        for attention in ATTENTION[: 1 if name in EAGER_ONLY else 2]:
            make = partial(_made, transformers, name, "SequenceClassification", attention, {**SIZES, **options})
            yield Architecture(f"{name}, {attention}", "transformers", partial(_of_tokens, make, embedding))
    for name, options in IMAGES.items():
        make = partial(_made, transformers, name, "ImageClassification", ATTENTION[0], options)
        yield Architecture(name, "transformers", partial(_of_images, make, 32))


def _made(transformers: Any, name: str, task: str, attention: str, sizes: dict[str, Any]) -> nn.Module:
    config = getattr(transformers, f"{name}Config")(**sizes)
    return getattr(transformers, f"{name}For{task}")._from_config(config, attn_implementation=attention)


def _of_images(make: Any, size: int) -> Net:
    torch.manual_seed(0)
    model, x = make().double(), torch.randn(BATCH, 3, size, size, dtype=torch.float64)
    _draw(model, x)
    return Net(_wrapped(model), x, _count(model), _narrow(model, {"x": x}))


def _of_tokens(make: Any, embedding: str) -> Net:
    torch.manual_seed(0)
    model, ids = make().double(), torch.randint(3, SIZES["vocab_size"], (BATCH, 12))
    ids[:, -1] = END
    x = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    nothing = {"input_ids": ids * (ids == END), "attention_mask": torch.ones_like(ids)}
    _draw(model, None)
    # whole numbers have no derivative: the rows of the embedding do
    return Net(_wrapped(model), x, _count(model), _narrow(model, x), {"layer": embedding}, nothing)


def _wrapped(model: nn.Module) -> Any:
    return whence.wrap(model, output="logits" if hasattr(model, "config") else None)


@torch.no_grad()
def _draw(model: nn.Module, x: Tensor | None) -> None:
    """Biases and scales at random, and statistics of batch normalisation from a batch; then inference."""
    for parameter in model.parameters():
        if parameter.ndim <= 1 or not parameter.any():
            parameter.add_(SPREAD * torch.randn_like(parameter))
    model.eval()
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.momentum = None
        norm.train()
    if norms:
        model(x)
    model.eval()


class _Narrow(TorchFunctionMode):
    """Sees whether something on the way through a model is in less than float64."""

    found = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        self.found |= isinstance(output, Tensor) and output.requires_grad and output.dtype != torch.float64
        return output


def _narrow(model: nn.Module, x: dict[str, Tensor]) -> bool:
    with _Narrow() as seen:
        model(*x.values())
    return seen.found


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _without_kernels() -> None:
    """Let torchvision be imported where its kernels, which no classifier uses, do not fit the build of PyTorch."""
    if find_spec("torchvision") is None:
        return
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for kernel in KERNELS:
            torch.library.define(f"torchvision::{kernel}", "(Tensor boxes, Tensor scores, float least) -> Tensor")
