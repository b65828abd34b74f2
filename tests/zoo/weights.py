"""The weights of the networks as float64 NumPy arrays, the same for every framework.

The canonical layout is PyTorch's, and the keys are the names of a PyTorch state dict:

- `LAYER.weight` of a dense layer is [outputs, inputs], of a convolution [outputs, inputs, *window];
- a dense layer behind a flattening counts its inputs in the order channel, row, column;
- `LAYER.weight` of a table (see `TABLES`) is [rows, features];
- a normalization has `weight` (scale) and `bias`, a batch normalization also `running_mean` and `running_var`;
- the arrays of a layer follow one another in the order weight, bias, running_mean, running_var.

Kernels sum to zero over their inputs, so that the positive mean of ReLU outputs is not passed on: without this the
features of a deep random network are nearly equal for all inputs.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .sizes import (
    DigitsCnnSize,
    NestedSize,
    ResnetSameSize,
    ResnetSize,
    Size,
    TextSize,
    VggGapSize,
    VggSize,
    VitSize,
    flattened,
    resnet_blocks,
    vgg_convolutions,
)

Array = NDArray[np.float64]
Weights = dict[str, Array]

TABLES = ("embedding", "class_token", "position_embedding")
RELU_GAIN = 1.7  # a zero-sum kernel with this gain keeps the variance of the signal through a ReLU
ATTENTION_GAIN = 1.5  # attention that prefers some tokens, and an output that depends on them
BRANCH_SCALE = 0.5  # of a residual branch, so that sums over blocks stay of order one


class _Draw:
    """Draws the arrays of one network in a fixed order."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.Generator(np.random.Philox(seed))
        self.weights: Weights = {}

    def kernel(self, layer: str, outputs: int, *inputs: int, gain: float = 1.0, bias: bool = True) -> None:
        """A dense or convolution kernel of shape [outputs, *inputs], and its bias."""
        kernel = self.rng.standard_normal((outputs, *inputs))
        kernel -= kernel.mean(axis=tuple(range(1, kernel.ndim)), keepdims=True)
        self.weights[f"{layer}.weight"] = kernel * gain / math.sqrt(math.prod(inputs))
        if bias:
            self.weights[f"{layer}.bias"] = 0.1 * self.rng.standard_normal(outputs)

    def table(self, layer: str, rows: int, features: int, scale: float = 1.0) -> None:
        """A table of normal rows."""
        self.weights[f"{layer}.weight"] = scale * self.rng.standard_normal((rows, features))

    def norm(self, layer: str, features: int, scale: float = 1.0) -> None:
        """The scale, near `scale`, and shift of a normalization."""
        self.weights[f"{layer}.weight"] = scale * self.rng.uniform(0.8, 1.2, features)
        self.weights[f"{layer}.bias"] = 0.1 * self.rng.standard_normal(features)

    def batch_norm(self, layer: str, features: int, scale: float = 1.0) -> None:
        """A normalization with running statistics away from 0 and 1."""
        self.norm(layer, features, scale)
        self.weights[f"{layer}.running_mean"] = 0.2 * self.rng.standard_normal(features)
        self.weights[f"{layer}.running_var"] = self.rng.uniform(0.7, 1.4, features)


def _digits_cnn(draw: _Draw, size: DigitsCnnSize) -> None:
    draw.kernel("conv1", 16, size.channels, 3, 3)
    draw.kernel("conv2", 32, 16, 3, 3, gain=RELU_GAIN)
    draw.kernel("dense", 64, math.prod(flattened(size)), gain=RELU_GAIN)
    draw.kernel("head", size.classes, 64, gain=RELU_GAIN)


def _resnet(draw: _Draw, size: ResnetSize) -> None:
    draw.kernel("conv1", size.width, size.channels, 7, 7, bias=False)
    draw.batch_norm("bn1", size.width)
    for block, inputs, outputs, stride in resnet_blocks(size.width):
        _basic_block(draw, block, inputs, outputs, stride)
    draw.kernel("head", size.classes, 8 * size.width, gain=RELU_GAIN)


def _basic_block(draw: _Draw, block: str, inputs: int, outputs: int, stride: int) -> None:
    draw.kernel(f"{block}.conv1", outputs, inputs, 3, 3, gain=RELU_GAIN, bias=False)
    draw.batch_norm(f"{block}.bn1", outputs)
    draw.kernel(f"{block}.conv2", outputs, outputs, 3, 3, gain=RELU_GAIN, bias=False)
    draw.batch_norm(f"{block}.bn2", outputs, scale=BRANCH_SCALE)
    if stride > 1:
        draw.kernel(f"{block}.shortcut_conv", outputs, inputs, 1, 1, gain=RELU_GAIN, bias=False)
        draw.batch_norm(f"{block}.shortcut_bn", outputs)


def _vit(draw: _Draw, size: VitSize) -> None:
    draw.kernel("patch_embedding", size.dim, size.channels, size.patch, size.patch)
    draw.table("class_token", 1, size.dim, scale=0.3)
    draw.table("position_embedding", size.tokens, size.dim, scale=0.3)
    for index in range(size.depth):
        block = f"blocks.{index}"
        draw.norm(f"{block}.norm1", size.dim)
        for projection in ("query", "key", "value", "out"):
            draw.kernel(f"{block}.attention.{projection}", size.dim, size.dim, gain=ATTENTION_GAIN)
        draw.norm(f"{block}.norm2", size.dim)
        draw.kernel(f"{block}.dense1", size.hidden, size.dim)
        draw.kernel(f"{block}.dense2", size.dim, size.hidden)
    draw.norm("norm", size.dim)
    draw.kernel("head", size.classes, size.dim)


def _text(draw: _Draw, size: TextSize) -> None:
    draw.table("embedding", size.vocabulary, size.dim)
    draw.kernel("conv1", size.filters, size.dim, 3)
    draw.kernel("head", size.classes, size.filters, gain=RELU_GAIN)


def _vgg(draw: _Draw, size: VggSize) -> None:
    for layer, inputs, outputs in vgg_convolutions(size):
        draw.kernel(layer, outputs, inputs, 3, 3, gain=RELU_GAIN)
    if isinstance(size, VggGapSize):
        draw.kernel("head", size.classes, 2 * size.width, gain=RELU_GAIN)
    else:
        draw.kernel("dense", 32, math.prod(flattened(size)), gain=RELU_GAIN)
        draw.kernel("head", size.classes, 32, gain=RELU_GAIN)


def _resnet_same(draw: _Draw, size: ResnetSameSize) -> None:
    draw.kernel("conv1", size.width, size.channels, 3, 3, bias=False)
    draw.batch_norm("bn1", size.width)
    _basic_block(draw, "block1", size.width, size.width, 1)
    _basic_block(draw, "block2", size.width, size.width, 2)
    draw.kernel("head", size.classes, size.width, gain=RELU_GAIN)


def _nested(draw: _Draw, size: NestedSize) -> None:
    draw.kernel("backbone.conv1", size.width, size.channels, 3, 3, bias=False)
    draw.batch_norm("backbone.bn1", size.width)
    draw.kernel("backbone.conv2", 2 * size.width, size.width, 3, 3, gain=RELU_GAIN)
    draw.kernel("head", size.classes, 2 * size.width, gain=RELU_GAIN)


_NETWORKS: dict[type[Size], Callable[..., None]] = {
    DigitsCnnSize: _digits_cnn,
    ResnetSize: _resnet,
    VitSize: _vit,
    TextSize: _text,
    VggSize: _vgg,
    VggGapSize: _vgg,
    ResnetSameSize: _resnet_same,
    NestedSize: _nested,
}


def weights(size: Size, seed: int = 0) -> Weights:
    """The weights of the network of this size, in the canonical layout."""
    draw = _Draw(seed)
    _NETWORKS[type(size)](draw, size)
    return draw.weights


def channels_last(size: Size, seed: int = 0) -> dict[str, list[Array]]:
    """The same weights by layer, kernels as [*window, inputs, outputs] and features flattened row, column, channel."""
    layers: dict[str, list[Array]] = {}
    for name, array in weights(size, seed).items():
        layer = name.rpartition(".")[0]
        if isinstance(size, DigitsCnnSize | VggSize) and name == "dense.weight":
            array = array.reshape(-1, *flattened(size)).transpose(0, 2, 3, 1).reshape(array.shape)
        if array.ndim > 1 and layer not in TABLES:
            array = np.moveaxis(array, (0, 1), (-1, -2))
        layers.setdefault(layer, []).append(array)
    return layers
