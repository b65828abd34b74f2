"""Hugging Face configurations on PyTorch, in float64, with random weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

import whence
from benchmarks.zoo.nets import Architecture, Missing, Net
from benchmarks.zoo.on_torch import INSTALL, without_kernels
from benchmarks.zoo.weights import BATCH, CLASSES, count, draw, is_narrow

TITLE = "configurations of transformers"
PACKAGES = ("torch", "transformers")
LENGTH, END = 12, 1
"""Tokens of a text, and the one that ends it."""
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
    """The classifiers, each of texts with the ways there are to compute attention."""
    if find_spec("transformers") is None:
        yield Missing("transformers", INSTALL)
        return
    torch.set_num_threads(1)
    without_kernels()
    import transformers

    for name, (embedding, options) in TEXTS.items():
        for attention in ATTENTION[: 1 if name in EAGER_ONLY else 2]:
            make = partial(_made, transformers, name, "SequenceClassification", attention, {**SIZES, **options})
            yield Architecture(f"{name}, {attention}", "transformers", partial(_of_tokens, make, embedding))
    for name, options in IMAGES.items():
        make = partial(_made, transformers, name, "ImageClassification", ATTENTION[0], options)
        yield Architecture(name, "transformers", partial(_of_images, make))


def _made(transformers: Any, name: str, task: str, attention: str, options: dict[str, Any]) -> nn.Module:
    config = getattr(transformers, f"{name}Config")(**options)
    return getattr(transformers, f"{name}For{task}")._from_config(config, attn_implementation=attention)


def _of_tokens(make: Callable[[], nn.Module], embedding: str) -> Net:
    torch.manual_seed(0)
    model, ids = make().double(), torch.randint(3, SIZES["vocab_size"], (BATCH, LENGTH))
    ids[:, -1] = END
    x = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    padding = {**x, "input_ids": ids * (ids == END)}
    draw(model, **x)
    # whole numbers have no derivative: the rows of the embedding do
    wrapped = whence.wrap(model, output="logits")
    return Net(wrapped, x, count(model), is_narrow(model, **x), {"layer": embedding}, padding)


def _of_images(make: Callable[[], nn.Module]) -> Net:
    torch.manual_seed(0)
    model, x = make().double(), torch.randn(BATCH, 3, 32, 32, dtype=torch.float64)
    draw(model, x)
    return Net(whence.wrap(model, output="logits"), x, count(model), is_narrow(model, x))
