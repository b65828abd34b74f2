"""The sizes of the networks; every option of a `build` function is a field here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageSize:
    """A classifier of square images; `width` is the number of channels inside."""

    image: int = 32
    channels: int = 3
    width: int = 8
    classes: int = 10


@dataclass(frozen=True)
class DigitsCnnSize:
    """A small convolutional network on 8 by 8 grey images."""

    image: int = 8
    channels: int = 1
    classes: int = 10


@dataclass(frozen=True)
class ResnetSize(ImageSize):
    """A ResNet-18 with `width` channels in its stem; the weights do not depend on `image`.

    Where it is `smooth`, softplus stands for relu and a mean for the maximum, so that rounding passes no threshold.
    Widths below 16 can crash on CPU where channels are last (https://github.com/uxlfoundation/oneDNN/issues/6035).
    """

    image: int = 224
    width: int = 32
    smooth: int = 0


@dataclass(frozen=True)
class VitSize:
    """A vision transformer with a class token."""

    image: int = 32
    channels: int = 3
    patch: int = 8
    dim: int = 48
    heads: int = 4
    hidden: int = 96
    depth: int = 2
    classes: int = 10

    @property
    def tokens(self) -> int:
        """The class token and one token per patch."""
        return 1 + (self.image // self.patch) ** 2


@dataclass(frozen=True)
class TextSize:
    """A convolutional text classifier."""

    length: int = 24
    vocabulary: int = 500
    dim: int = 32
    filters: int = 64
    classes: int = 4


@dataclass(frozen=True)
class VggSize(ImageSize):
    """Four 3 by 3 convolutions, flattened before two dense layers."""


@dataclass(frozen=True)
class VggGapSize(VggSize):
    """The same convolutions with one dense layer on their mean over positions, as class activation maps need it."""


@dataclass(frozen=True)
class ResnetSameSize(ImageSize):
    """A small residual network whose strides pad 'same' as TensorFlow does: one row more at the end than before."""

    width: int = 16


@dataclass(frozen=True)
class NestedSize(ImageSize):
    """A backbone of two convolutions as a model of its own inside the model."""


Size = DigitsCnnSize | ResnetSize | VitSize | TextSize | VggSize | VggGapSize | ResnetSameSize | NestedSize

SIZES: dict[str, type[Size]] = {
    "digits_cnn": DigitsCnnSize,
    "resnet": ResnetSize,
    "vit": VitSize,
    "text": TextSize,
    "vgg": VggSize,
    "vgg_gap": VggGapSize,
    "resnet_same": ResnetSameSize,
    "nested": NestedSize,
}


def size_of(name: str, **options: int) -> Size:
    """The size of network `name`, with `options` in place of its defaults."""
    return SIZES[name](**options)


def vgg_convolutions(size: VggSize) -> list[tuple[str, int, int]]:
    """The convolutions in order: name, input channels, output channels."""
    widths = (size.channels, size.width, size.width, 2 * size.width, 2 * size.width)
    return [(f"conv{i}", *widths[i - 1 : i + 1]) for i in range(1, 5)]


def flattened(size: DigitsCnnSize | VggSize) -> tuple[int, int, int]:
    """Channels, rows and columns of the features that the dense layer sees flattened."""
    if isinstance(size, VggSize):
        return 2 * size.width, size.image // 4, size.image // 4
    return 32, size.image // 2, size.image // 2


def resnet_blocks(width: int) -> list[tuple[str, int, int, int]]:
    """The residual blocks in order: name, input channels, output channels, stride."""
    blocks = []
    inputs = width
    for stage in range(4):
        outputs = width * 2**stage
        for index in range(2):
            stride = 2 if stage > 0 and index == 0 else 1
            blocks.append((f"stage{stage + 1}.{index}", inputs, outputs, stride))
            inputs = outputs
    return blocks
