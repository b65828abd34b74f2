"""The networks as PyTorch modules, channels first."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
from .weights import weights


class DigitsCnn(nn.Sequential):
    """Two convolutions and two dense layers."""

    def __init__(self, size: DigitsCnnSize) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(size.channels, 16, 3, padding="same")
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(16, 32, 3, padding="same")
        self.relu2 = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.dense = nn.Linear(math.prod(flattened(size)), 64)
        self.relu3 = nn.ReLU()
        self.head = nn.Linear(64, size.classes)


class SameConv2d(nn.Conv2d):
    """A convolution that pads so that n becomes ceil(n / stride), the odd row and column at the end."""

    def forward(self, x: Tensor) -> Tensor:
        padding: list[int] = []
        for n, window, stride in reversed(list(zip(x.shape[2:], self.kernel_size, self.stride, strict=True))):
            missing = max((math.ceil(n / stride) - 1) * stride + window - n, 0)
            padding += [missing // 2, missing - missing // 2]
        return super().forward(F.pad(x, padding))


class BasicBlock(nn.Module):
    """A residual block of two 3 by 3 convolutions; with a stride, the shortcut is a 1 by 1 convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int, same: bool = False, smooth: int = 0) -> None:
        super().__init__()
        activation = nn.Softplus if smooth else nn.ReLU
        if same:
            self.conv1: nn.Conv2d = SameConv2d(inputs, outputs, 3, stride, bias=False)
        else:
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = activation()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.projects = stride > 1
        if self.projects:
            self.shortcut_conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut_bn = nn.BatchNorm2d(outputs)
        self.relu2 = activation()

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        shortcut = self.shortcut_bn(self.shortcut_conv(x)) if self.projects else x
        return self.relu2(branch + shortcut)


class Resnet(nn.Sequential):
    """A stem, four stages of two basic blocks, and a classifier on the mean over positions."""

    def __init__(self, size: ResnetSize) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(size.channels, size.width, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(size.width)
        self.relu = nn.Softplus() if size.smooth else nn.ReLU()
        self.maxpool = nn.AvgPool2d(3, 2, padding=1) if size.smooth else nn.MaxPool2d(3, 2, padding=1)
        for name, inputs, outputs, stride in resnet_blocks(size.width):
            stage, index = name.split(".")
            if index == "0":
                self.add_module(stage, nn.Sequential())
            self.get_submodule(stage).append(BasicBlock(inputs, outputs, stride, smooth=size.smooth))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(8 * size.width, size.classes)


class ClassToken(nn.Module):
    """Puts a learned token in front of a sequence."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, dim))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.weight.expand(x.shape[0], 1, -1), x], dim=1)


class PositionEmbedding(nn.Module):
    """Adds a learned vector to each position of a sequence."""

    def __init__(self, tokens: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(tokens, dim))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight


class Attention(nn.Module):
    """Multi-head self-attention as explicit products."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.softmax = nn.Softmax(dim=-1)
        self.out = nn.Linear(dim, dim)

    def split(self, x: Tensor) -> Tensor:
        """[batch, tokens, dim] as [batch, heads, tokens, dim / heads]."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        return self.out((self.softmax(scores) @ value).transpose(1, 2).flatten(2))


class TransformerBlock(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, size: VitSize) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(size.dim, eps=1e-6)
        self.attention = Attention(size.dim, size.heads)
        self.norm2 = nn.LayerNorm(size.dim, eps=1e-6)
        self.dense1 = nn.Linear(size.dim, size.hidden)
        self.gelu = nn.GELU()
        self.dense2 = nn.Linear(size.hidden, size.dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.dense2(self.gelu(self.dense1(self.norm2(x))))


class Vit(nn.Module):
    """A vision transformer, classified on its class token."""

    def __init__(self, size: VitSize) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv2d(size.channels, size.dim, size.patch, size.patch)
        self.class_token = ClassToken(size.dim)
        self.position_embedding = PositionEmbedding(size.tokens, size.dim)
        self.blocks = nn.Sequential(*(TransformerBlock(size) for _ in range(size.depth)))
        self.norm = nn.LayerNorm(size.dim, eps=1e-6)
        self.head = nn.Linear(size.dim, size.classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch_embedding(x).flatten(2).transpose(1, 2)
        tokens = self.blocks(self.position_embedding(self.class_token(tokens)))
        return self.head(self.norm(tokens)[:, 0])


class Text(nn.Module):
    """An embedding, one convolution, and a classifier on the maximum over time."""

    def __init__(self, size: TextSize) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size.vocabulary, size.dim)
        self.conv1 = nn.Conv1d(size.dim, size.filters, 3, padding="same")
        self.relu = nn.ReLU()
        self.head = nn.Linear(size.filters, size.classes)

    def forward(self, ids: Tensor) -> Tensor:
        features = self.relu(self.conv1(self.embedding(ids).transpose(1, 2)))
        return self.head(features.amax(dim=-1))


class Vgg(nn.Sequential):
    """Four convolutions, and two dense layers on the flattened features or one on their mean over positions."""

    def __init__(self, size: VggSize) -> None:
        super().__init__()
        for name, inputs, outputs in vgg_convolutions(size):
            self.add_module(name, nn.Conv2d(inputs, outputs, 3, padding="same"))
            self.add_module(name.replace("conv", "relu"), nn.ReLU())
            if name == "conv2":
                self.pool1 = nn.MaxPool2d(2)
        if isinstance(size, VggGapSize):
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.flatten = nn.Flatten()
            self.head = nn.Linear(2 * size.width, size.classes)
        else:
            self.pool2 = nn.MaxPool2d(2)
            self.flatten = nn.Flatten()
            self.dense = nn.Linear(math.prod(flattened(size)), 32)
            self.relu5 = nn.ReLU()
            self.head = nn.Linear(32, size.classes)


class ResnetSame(nn.Sequential):
    """A stem with a stride, two basic blocks, the second with a stride, and a classifier on the mean."""

    def __init__(self, size: ResnetSameSize) -> None:
        super().__init__()
        self.conv1 = SameConv2d(size.channels, size.width, 3, 2, bias=False)
        self.bn1 = nn.BatchNorm2d(size.width)
        self.relu = nn.ReLU()
        self.block1 = BasicBlock(size.width, size.width, 1, same=True)
        self.block2 = BasicBlock(size.width, size.width, 2, same=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(size.width, size.classes)


class Backbone(nn.Sequential):
    """Two convolutions, the first batch-normalized."""

    def __init__(self, size: NestedSize) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(size.channels, size.width, 3, padding="same", bias=False)
        self.bn1 = nn.BatchNorm2d(size.width)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(size.width, 2 * size.width, 3, padding="same")
        self.relu2 = nn.ReLU()


class Nested(nn.Module):
    """A backbone and a classifier on the mean of its features."""

    def __init__(self, size: NestedSize) -> None:
        super().__init__()
        self.backbone = Backbone(size)
        self.head = nn.Linear(2 * size.width, size.classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x).mean(dim=(2, 3)))


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "digits_cnn": DigitsCnn,
    "resnet": Resnet,
    "vit": Vit,
    "text": Text,
    "vgg": Vgg,
    "vgg_gap": Vgg,
    "resnet_same": ResnetSame,
    "nested": Nested,
}


def build(name: str, dtype: str = "float32", seed: int = 0, **options: int) -> nn.Module:
    """Network `name` with its weights, in inference mode."""
    size = size_of(name, **options)
    model = NETWORKS[name](size).to(getattr(torch, dtype))
    model.load_state_dict({key: torch.from_numpy(array) for key, array in weights(size, seed).items()})
    return model.eval()
