"""The networks in Keras 3, for any of its backends, channels last: functional, nested, subclassed and sequential.

Only on TensorFlow does Keras (3.15) compute in float64: on JAX and PyTorch its type promotion turns float64 into
float32 inside layers (https://github.com/keras-team/keras/issues/23704), and float64 results have float32 precision.
"""

import re
from collections.abc import Callable
from functools import reduce
from typing import Any

import keras
from keras import layers, ops

from .sizes import (
    DigitsCnnSize,
    NestedSize,
    ResnetSameSize,
    ResnetSize,
    TextSize,
    VggGapSize,
    VggSize,
    VitSize,
    resnet_blocks,
    size_of,
    vgg_convolutions,
)
from .weights import channels_last


def digits_cnn(size: DigitsCnnSize, dtype: str) -> keras.Model:
    """Two convolutions and two dense layers, as a functional model."""
    image = keras.Input((size.image, size.image, size.channels), dtype=dtype, name="image")
    x = layers.Conv2D(16, 3, padding="same", name="conv1", dtype=dtype)(image)
    x = layers.ReLU(name="relu1", dtype=dtype)(x)
    x = layers.Conv2D(32, 3, padding="same", name="conv2", dtype=dtype)(x)
    x = layers.ReLU(name="relu2", dtype=dtype)(x)
    x = layers.MaxPooling2D(2, name="pool", dtype=dtype)(x)
    x = layers.Flatten(name="flatten", dtype=dtype)(x)
    x = layers.Dense(64, name="dense", dtype=dtype)(x)
    x = layers.ReLU(name="relu3", dtype=dtype)(x)
    x = layers.Dense(size.classes, name="head", dtype=dtype)(x)
    return keras.Model(image, x, name="digits_cnn")


def _padded_conv(x: Any, name: str, filters: int, window: int, stride: int, dtype: str) -> Any:
    # Padding is a layer of its own: "same" with a stride pads otherwise than PyTorch.
    x = layers.ZeroPadding2D(window // 2, name=f"{name}_pad", dtype=dtype)(x)
    return layers.Conv2D(filters, window, stride, use_bias=False, name=name, dtype=dtype)(x)


def _batch_norm(x: Any, name: str, dtype: str) -> Any:
    return layers.BatchNormalization(epsilon=1e-5, name=name, dtype=dtype)(x)


def _same_conv(x: Any, name: str, filters: int, window: int, stride: int, dtype: str) -> Any:
    return layers.Conv2D(filters, window, stride, padding="same", use_bias=False, name=name, dtype=dtype)(x)


def _activation(name: str, smooth: int, dtype: str) -> keras.layers.Layer:
    return layers.Activation("softplus" if smooth else "relu", name=name, dtype=dtype)


def _basic_block(
    name: str, inputs: int, outputs: int, stride: int, dtype: str, conv: Callable[..., Any] = _padded_conv,
    smooth: int = 0,
) -> keras.Model:  # fmt: skip
    features = keras.Input((None, None, inputs), dtype=dtype)
    x = conv(features, "conv1", outputs, 3, stride, dtype)
    x = _batch_norm(x, "bn1", dtype)
    x = _activation("relu1", smooth, dtype)(x)
    x = conv(x, "conv2", outputs, 3, 1, dtype)
    x = _batch_norm(x, "bn2", dtype)
    shortcut = features
    if stride > 1:
        shortcut = layers.Conv2D(outputs, 1, stride, use_bias=False, name="shortcut_conv", dtype=dtype)(features)
        shortcut = _batch_norm(shortcut, "shortcut_bn", dtype)
    x = layers.Add(name="add", dtype=dtype)([x, shortcut])
    x = _activation("relu2", smooth, dtype)(x)
    return keras.Model(features, x, name=name)


def resnet(size: ResnetSize, dtype: str) -> keras.Model:
    """A residual network, as a functional model with a nested model for each block."""
    image = keras.Input((None, None, size.channels), dtype=dtype, name="image")
    x = _padded_conv(image, "conv1", size.width, 7, 2, dtype)
    x = _batch_norm(x, "bn1", dtype)
    x = _activation("relu", size.smooth, dtype)(x)
    x = layers.ZeroPadding2D(1, name="maxpool_pad", dtype=dtype)(x)
    pool = layers.AveragePooling2D if size.smooth else layers.MaxPooling2D
    x = pool(3, 2, name="maxpool", dtype=dtype)(x)
    for path, inputs, outputs, stride in resnet_blocks(size.width):
        x = _basic_block(_names(path)[0], inputs, outputs, stride, dtype, smooth=size.smooth)(x)
    x = layers.GlobalAveragePooling2D(name="avgpool", dtype=dtype)(x)
    x = layers.Dense(size.classes, name="head", dtype=dtype)(x)
    return keras.Model(image, x, name="resnet")


class ClassToken(layers.Layer):
    """Puts a learned token in front of a sequence."""

    def build(self, shape: tuple[int, ...]) -> None:
        self.weight = self.add_weight(shape=(1, shape[-1]), name="weight")

    def call(self, x: Any) -> Any:
        token = ops.broadcast_to(self.weight, (ops.shape(x)[0], 1, x.shape[-1]))
        return ops.concatenate([token, x], axis=1)


class PositionEmbedding(layers.Layer):
    """Adds a learned vector to each position of a sequence."""

    def build(self, shape: tuple[int, ...]) -> None:
        self.weight = self.add_weight(shape=shape[1:], name="weight")

    def call(self, x: Any) -> Any:
        return x + self.weight


class Attention(keras.Model):
    """Multi-head self-attention as explicit products."""

    def __init__(self, dim: int, heads: int, dtype: str) -> None:
        super().__init__(name="attention", dtype=dtype)
        self.dim = dim
        self.heads = heads
        self.query = layers.Dense(dim, name="query", dtype=dtype)
        self.key = layers.Dense(dim, name="key", dtype=dtype)
        self.value = layers.Dense(dim, name="value", dtype=dtype)
        self.softmax = layers.Softmax(name="softmax", dtype=dtype)
        self.out = layers.Dense(dim, name="out", dtype=dtype)

    def split(self, x: Any) -> Any:
        """[batch, tokens, dim] as [batch, heads, tokens, dim / heads]."""
        return ops.transpose(ops.reshape(x, (-1, x.shape[1], self.heads, self.dim // self.heads)), (0, 2, 1, 3))

    def call(self, x: Any) -> Any:
        query, key, value = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = ops.matmul(query, ops.swapaxes(key, -1, -2)) / query.shape[-1] ** 0.5
        mixed = ops.transpose(ops.matmul(self.softmax(scores), value), (0, 2, 1, 3))
        return self.out(ops.reshape(mixed, (-1, x.shape[1], self.dim)))


class TransformerBlock(keras.Model):
    """A pre-norm transformer block."""

    def __init__(self, size: VitSize, name: str, dtype: str) -> None:
        super().__init__(name=name, dtype=dtype)
        self.norm1 = layers.LayerNormalization(epsilon=1e-6, name="norm1", dtype=dtype)
        self.attention = Attention(size.dim, size.heads, dtype)
        self.norm2 = layers.LayerNormalization(epsilon=1e-6, name="norm2", dtype=dtype)
        self.dense1 = layers.Dense(size.hidden, name="dense1", dtype=dtype)
        self.gelu = layers.Activation("gelu", name="gelu", dtype=dtype)  # the exact one
        self.dense2 = layers.Dense(size.dim, name="dense2", dtype=dtype)

    def call(self, x: Any) -> Any:
        x = x + self.attention(self.norm1(x))
        return x + self.dense2(self.gelu(self.dense1(self.norm2(x))))


class Vit(keras.Model):
    """A vision transformer, classified on its class token, as a subclassed model."""

    def __init__(self, size: VitSize, dtype: str) -> None:
        super().__init__(name="vit", dtype=dtype)
        self.patch_embedding = layers.Conv2D(size.dim, size.patch, size.patch, name="patch_embedding", dtype=dtype)
        self.flatten = layers.Reshape((size.tokens - 1, size.dim), name="flatten", dtype=dtype)
        self.class_token = ClassToken(name="class_token", dtype=dtype)
        self.position_embedding = PositionEmbedding(name="position_embedding", dtype=dtype)
        self.blocks = [TransformerBlock(size, f"blocks_{index}", dtype) for index in range(size.depth)]
        self.norm = layers.LayerNormalization(epsilon=1e-6, name="norm", dtype=dtype)
        self.head = layers.Dense(size.classes, name="head", dtype=dtype)
        self(ops.zeros((1, size.image, size.image, size.channels), dtype=dtype))  # makes the variables

    def call(self, x: Any) -> Any:
        tokens = self.flatten(self.patch_embedding(x))
        tokens = self.position_embedding(self.class_token(tokens))
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.norm(tokens)[:, 0])


def text(size: TextSize, dtype: str) -> keras.Model:
    """An embedding, one convolution, and a classifier on the maximum over time, as a sequential model."""
    return keras.Sequential(
        [
            keras.Input((size.length,), dtype="int32", name="ids"),
            layers.Embedding(size.vocabulary, size.dim, name="embedding", dtype=dtype),
            layers.Conv1D(size.filters, 3, padding="same", name="conv1", dtype=dtype),
            layers.ReLU(name="relu", dtype=dtype),
            layers.GlobalMaxPooling1D(name="maxpool", dtype=dtype),
            layers.Dense(size.classes, name="head", dtype=dtype),
        ],
        name="text",
    )


def vgg(size: VggSize, dtype: str) -> keras.Model:
    """Four convolutions, and two dense layers on the flattened features or one on their mean over positions."""
    image = x = keras.Input((size.image, size.image, size.channels), dtype=dtype, name="image")
    for name, _, filters in vgg_convolutions(size):
        x = layers.Conv2D(filters, 3, padding="same", name=name, dtype=dtype)(x)
        x = layers.ReLU(name=name.replace("conv", "relu"), dtype=dtype)(x)
        if name == "conv2":
            x = layers.MaxPooling2D(2, name="pool1", dtype=dtype)(x)
    if isinstance(size, VggGapSize):
        x = layers.GlobalAveragePooling2D(name="avgpool", dtype=dtype)(x)
    else:
        x = layers.MaxPooling2D(2, name="pool2", dtype=dtype)(x)
        x = layers.Flatten(name="flatten", dtype=dtype)(x)
        x = layers.Dense(32, name="dense", dtype=dtype)(x)
        x = layers.ReLU(name="relu5", dtype=dtype)(x)
    return keras.Model(image, layers.Dense(size.classes, name="head", dtype=dtype)(x), name="vgg")


def resnet_same(size: ResnetSameSize, dtype: str) -> keras.Model:
    """A stem with a stride, two basic blocks, the second with a stride, and a classifier on the mean."""
    image = keras.Input((size.image, size.image, size.channels), dtype=dtype, name="image")
    x = _same_conv(image, "conv1", size.width, 3, 2, dtype)
    x = _batch_norm(x, "bn1", dtype)
    x = layers.ReLU(name="relu", dtype=dtype)(x)
    x = _basic_block("block1", size.width, size.width, 1, dtype, _same_conv)(x)
    x = _basic_block("block2", size.width, size.width, 2, dtype, _same_conv)(x)
    x = layers.GlobalAveragePooling2D(name="avgpool", dtype=dtype)(x)
    return keras.Model(image, layers.Dense(size.classes, name="head", dtype=dtype)(x), name="resnet_same")


def nested(size: NestedSize, dtype: str) -> keras.Model:
    """A functional backbone called as one layer of a functional model."""
    shape = (size.image, size.image, size.channels)
    features = keras.Input(shape, dtype=dtype)
    x = layers.Conv2D(size.width, 3, padding="same", use_bias=False, name="conv1", dtype=dtype)(features)
    x = _batch_norm(x, "bn1", dtype)
    x = layers.ReLU(name="relu1", dtype=dtype)(x)
    x = layers.MaxPooling2D(2, name="pool1", dtype=dtype)(x)
    x = layers.Conv2D(2 * size.width, 3, padding="same", name="conv2", dtype=dtype)(x)
    x = layers.ReLU(name="relu2", dtype=dtype)(x)
    backbone = keras.Model(features, x, name="backbone")
    image = keras.Input(shape, dtype=dtype, name="image")
    x = layers.GlobalAveragePooling2D(name="avgpool", dtype=dtype)(backbone(image))
    return keras.Model(image, layers.Dense(size.classes, name="head", dtype=dtype)(x), name="nested")


NETWORKS: dict[str, Callable[..., keras.Model]] = {
    "digits_cnn": digits_cnn,
    "resnet": resnet,
    "vit": Vit,
    "text": text,
    "vgg": vgg,
    "vgg_gap": vgg,
    "resnet_same": resnet_same,
    "nested": nested,
}


def _names(path: str) -> list[str]:
    """The names of the nested layers at a canonical path: `stage2.0.conv1` is `conv1` in `stage2_0`."""
    return re.sub(r"\.(\d+)", r"_\1", path).split(".")


def layer_at(model: keras.Model, path: str) -> layers.Layer:
    """The layer at a canonical path such as `stage2.0.conv1`."""
    return reduce(lambda parent, name: parent.get_layer(name), _names(path), model)


def build(name: str, dtype: str = "float32", seed: int = 0, **options: int) -> keras.Model:
    """Network `name` with its weights; called without `training` it is in inference mode."""
    size = size_of(name, **options)
    model = NETWORKS[name](size, dtype)
    for path, arrays in channels_last(size, seed).items():
        layer_at(model, path).set_weights(arrays)
    return model
