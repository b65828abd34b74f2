"""The networks as Flax NNX modules, channels last."""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array

from .jax_arrays import to_jax
from .sizes import (
    DigitsCnnSize,
    NestedSize,
    ResnetSameSize,
    ResnetSize,
    TextSize,
    VggGapSize,
    VggSize,
    VitSize,
    flattened,
    resnet_blocks,
    size_of,
    vgg_convolutions,
)
from .weights import channels_last

Common = dict[str, Any]  # what all layers are given: `param_dtype` and `rngs`


class DigitsCnn(nnx.Module):
    """Two convolutions and two dense layers."""

    def __init__(self, size: DigitsCnnSize, common: Common) -> None:
        self.conv1 = nnx.Conv(size.channels, 16, (3, 3), **common)
        self.conv2 = nnx.Conv(16, 32, (3, 3), **common)
        self.dense = nnx.Linear(math.prod(flattened(size)), 64, **common)
        self.head = nnx.Linear(64, size.classes, **common)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.conv1(x))
        x = nnx.relu(self.conv2(x))
        x = nnx.max_pool(x, (2, 2), (2, 2))
        x = nnx.relu(self.dense(x.reshape(x.shape[0], -1)))
        return self.head(x)


class BasicBlock(nnx.Module):
    """A residual block of two 3 by 3 convolutions; with a stride, the shortcut is a 1 by 1 convolution."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, common: Common, padding: int | str = 1, smooth: int = 0
    ) -> None:  # fmt: skip
        self.activation = nnx.softplus if smooth else nnx.relu
        # Padding is given in numbers where "SAME" is not meant: with a stride it pads otherwise than PyTorch.
        self.conv1 = nnx.Conv(inputs, outputs, (3, 3), stride, padding=padding, use_bias=False, **common)
        self.bn1 = _batch_norm(outputs, common)
        self.conv2 = nnx.Conv(outputs, outputs, (3, 3), padding=1, use_bias=False, **common)
        self.bn2 = _batch_norm(outputs, common)
        self.projects = stride > 1
        if self.projects:
            self.shortcut_conv = nnx.Conv(inputs, outputs, (1, 1), stride, use_bias=False, **common)
            self.shortcut_bn = _batch_norm(outputs, common)

    def __call__(self, x: Array) -> Array:
        branch = self.bn2(self.conv2(self.activation(self.bn1(self.conv1(x)))))
        shortcut = self.shortcut_bn(self.shortcut_conv(x)) if self.projects else x
        return self.activation(branch + shortcut)


class Resnet(nnx.Module):
    """A stem, four stages of two basic blocks, and a classifier on the mean over positions."""

    def __init__(self, size: ResnetSize, common: Common) -> None:
        self.conv1 = nnx.Conv(size.channels, size.width, (7, 7), 2, padding=3, use_bias=False, **common)
        self.bn1 = _batch_norm(size.width, common)
        self.activation = nnx.softplus if size.smooth else nnx.relu
        self.pool = nnx.avg_pool if size.smooth else nnx.max_pool
        blocks = [
            BasicBlock(inputs, outputs, stride, common, smooth=size.smooth)
            for _, inputs, outputs, stride in resnet_blocks(size.width)
        ]
        self.stage1 = nnx.Sequential(*blocks[0:2])
        self.stage2 = nnx.Sequential(*blocks[2:4])
        self.stage3 = nnx.Sequential(*blocks[4:6])
        self.stage4 = nnx.Sequential(*blocks[6:8])
        self.head = nnx.Linear(8 * size.width, size.classes, **common)

    def __call__(self, x: Array) -> Array:
        x = self.activation(self.bn1(self.conv1(x)))
        x = self.pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        x = self.stage4(self.stage3(self.stage2(self.stage1(x))))
        return self.head(x.mean(axis=(1, 2)))


class ClassToken(nnx.Module):
    """Puts a learned token in front of a sequence."""

    def __init__(self, dim: int, param_dtype: str) -> None:
        self.weight = nnx.Param(jnp.zeros((1, dim), param_dtype))

    def __call__(self, x: Array) -> Array:
        token = jnp.broadcast_to(self.weight[...], (x.shape[0], 1, x.shape[-1]))
        return jnp.concatenate([token, x], axis=1)


class PositionEmbedding(nnx.Module):
    """Adds a learned vector to each position of a sequence."""

    def __init__(self, tokens: int, dim: int, param_dtype: str) -> None:
        self.weight = nnx.Param(jnp.zeros((tokens, dim), param_dtype))

    def __call__(self, x: Array) -> Array:
        return x + self.weight[...]


class Attention(nnx.Module):
    """Multi-head self-attention as explicit products."""

    def __init__(self, dim: int, heads: int, common: Common) -> None:
        self.heads = heads
        self.query = nnx.Linear(dim, dim, **common)
        self.key = nnx.Linear(dim, dim, **common)
        self.value = nnx.Linear(dim, dim, **common)
        self.out = nnx.Linear(dim, dim, **common)

    def split(self, x: Array) -> Array:
        """[batch, tokens, dim] as [batch, heads, tokens, dim / heads]."""
        return x.reshape(*x.shape[:2], self.heads, -1).swapaxes(1, 2)

    def __call__(self, x: Array) -> Array:
        query, key, value = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = query @ key.swapaxes(-1, -2) / query.shape[-1] ** 0.5
        return self.out((nnx.softmax(scores) @ value).swapaxes(1, 2).reshape(x.shape))


class TransformerBlock(nnx.Module):
    """A pre-norm transformer block."""

    def __init__(self, size: VitSize, common: Common) -> None:
        self.norm1 = _layer_norm(size.dim, common)
        self.attention = Attention(size.dim, size.heads, common)
        self.norm2 = _layer_norm(size.dim, common)
        self.dense1 = nnx.Linear(size.dim, size.hidden, **common)
        self.dense2 = nnx.Linear(size.hidden, size.dim, **common)

    def __call__(self, x: Array) -> Array:
        x = x + self.attention(self.norm1(x))
        return x + self.dense2(nnx.gelu(self.dense1(self.norm2(x)), approximate=False))


class Vit(nnx.Module):
    """A vision transformer, classified on its class token."""

    def __init__(self, size: VitSize, common: Common) -> None:
        patch = (size.patch, size.patch)
        self.patch_embedding = nnx.Conv(size.channels, size.dim, patch, patch, padding="VALID", **common)
        self.class_token = ClassToken(size.dim, common["param_dtype"])
        self.position_embedding = PositionEmbedding(size.tokens, size.dim, common["param_dtype"])
        self.blocks = nnx.Sequential(*(TransformerBlock(size, common) for _ in range(size.depth)))
        self.norm = _layer_norm(size.dim, common)
        self.head = nnx.Linear(size.dim, size.classes, **common)

    def __call__(self, x: Array) -> Array:
        tokens = self.patch_embedding(x)
        tokens = tokens.reshape(tokens.shape[0], -1, tokens.shape[-1])
        tokens = self.blocks(self.position_embedding(self.class_token(tokens)))
        return self.head(self.norm(tokens)[:, 0])


class Text(nnx.Module):
    """An embedding, one convolution, and a classifier on the maximum over time."""

    def __init__(self, size: TextSize, common: Common) -> None:
        self.embedding = nnx.Embed(size.vocabulary, size.dim, **common)
        self.conv1 = nnx.Conv(size.dim, size.filters, (3,), **common)
        self.head = nnx.Linear(size.filters, size.classes, **common)

    def __call__(self, ids: Array) -> Array:
        features = nnx.relu(self.conv1(self.embedding(ids)))
        return self.head(features.max(axis=1))


class Relu(nnx.Module):
    """A module, so that its output is a layer with a name."""

    def __call__(self, x: Array) -> Array:
        return nnx.relu(x)


class Vgg(nnx.Module):
    """Four convolutions, and two dense layers on the flattened features or one on their mean over positions."""

    def __init__(self, size: VggSize, common: Common) -> None:
        for name, inputs, outputs in vgg_convolutions(size):
            setattr(self, name, nnx.Conv(inputs, outputs, (3, 3), **common))
            setattr(self, name.replace("conv", "relu"), Relu())
        self.pooled = isinstance(size, VggGapSize)
        if not self.pooled:
            self.dense = nnx.Linear(math.prod(flattened(size)), 32, **common)
        self.head = nnx.Linear(2 * size.width if self.pooled else 32, size.classes, **common)

    def __call__(self, x: Array) -> Array:
        x = self.relu2(self.conv2(self.relu1(self.conv1(x))))
        x = nnx.max_pool(x, (2, 2), (2, 2))
        x = self.relu4(self.conv4(self.relu3(self.conv3(x))))
        if self.pooled:
            return self.head(x.mean(axis=(1, 2)))
        x = nnx.max_pool(x, (2, 2), (2, 2))
        return self.head(nnx.relu(self.dense(x.reshape(x.shape[0], -1))))


class ResnetSame(nnx.Module):
    """A stem with a stride, two basic blocks, the second with a stride, and a classifier on the mean."""

    def __init__(self, size: ResnetSameSize, common: Common) -> None:
        self.conv1 = nnx.Conv(size.channels, size.width, (3, 3), 2, padding="SAME", use_bias=False, **common)
        self.bn1 = _batch_norm(size.width, common)
        self.block1 = BasicBlock(size.width, size.width, 1, common, padding="SAME")
        self.block2 = BasicBlock(size.width, size.width, 2, common, padding="SAME")
        self.head = nnx.Linear(size.width, size.classes, **common)

    def __call__(self, x: Array) -> Array:
        x = self.block2(self.block1(nnx.relu(self.bn1(self.conv1(x)))))
        return self.head(x.mean(axis=(1, 2)))


class Backbone(nnx.Module):
    """Two convolutions, the first batch-normalized."""

    def __init__(self, size: NestedSize, common: Common) -> None:
        self.conv1 = nnx.Conv(size.channels, size.width, (3, 3), use_bias=False, **common)
        self.bn1 = _batch_norm(size.width, common)
        self.conv2 = nnx.Conv(size.width, 2 * size.width, (3, 3), **common)

    def __call__(self, x: Array) -> Array:
        x = nnx.max_pool(nnx.relu(self.bn1(self.conv1(x))), (2, 2), (2, 2))
        return nnx.relu(self.conv2(x))


class Nested(nnx.Module):
    """A backbone and a classifier on the mean of its features."""

    def __init__(self, size: NestedSize, common: Common) -> None:
        self.backbone = Backbone(size, common)
        self.head = nnx.Linear(2 * size.width, size.classes, **common)

    def __call__(self, x: Array) -> Array:
        return self.head(self.backbone(x).mean(axis=(1, 2)))


def _batch_norm(features: int, common: Common) -> nnx.BatchNorm:
    return nnx.BatchNorm(features, use_running_average=True, **common)


def _layer_norm(features: int, common: Common) -> nnx.LayerNorm:
    return nnx.LayerNorm(features, epsilon=1e-6, use_fast_variance=False, **common)


NETWORKS: dict[str, Callable[..., nnx.Module]] = {
    "digits_cnn": DigitsCnn,
    "resnet": Resnet,
    "vit": Vit,
    "text": Text,
    "vgg": Vgg,
    "vgg_gap": Vgg,
    "resnet_same": ResnetSame,
    "nested": Nested,
}

PARAMETERS: dict[type[nnx.Module], tuple[str, ...]] = {
    nnx.Conv: ("kernel", "bias"),
    nnx.Linear: ("kernel", "bias"),
    nnx.BatchNorm: ("scale", "bias", "mean", "var"),
    nnx.LayerNorm: ("scale", "bias"),
    nnx.Embed: ("embedding",),
    ClassToken: ("weight",),
    PositionEmbedding: ("weight",),
}


def layer_at(model: nnx.Module, path: str) -> Any:
    """The layer at a canonical path such as `stage2.0.conv1`."""
    layer: Any = model
    for part in path.split("."):
        layer = layer.layers[int(part)] if part.isdigit() else getattr(layer, part)
    return layer


def build(name: str, dtype: str = "float32", seed: int = 0, **options: int) -> nnx.Module:
    """Network `name` with its weights, in inference mode."""
    size = size_of(name, **options)
    model = nnx.eval_shape(lambda: NETWORKS[name](size, {"param_dtype": dtype, "rngs": nnx.Rngs(0)}))
    for path, arrays in channels_last(size, seed).items():
        layer = layer_at(model, path)
        for parameter, array in zip(PARAMETERS[type(layer)], arrays, strict=False):
            getattr(layer, parameter).set_value(to_jax(array, dtype))
    model.eval()
    return model
