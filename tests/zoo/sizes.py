"""The sizes of the four networks; every option of a `build` function is a field here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DigitsCnnSize:
    """A small convolutional network on 8 by 8 grey images."""

    image: int = 8
    channels: int = 1
    classes: int = 10


@dataclass(frozen=True)
class ResnetSize:
    """A ResNet-18 with `width` channels in its stem; the weights do not depend on `image`.

    Widths below 16 can crash on CPU where channels are last (https://github.com/uxlfoundation/oneDNN/issues/6035).
    """

    image: int = 224
    channels: int = 3
    width: int = 32
    classes: int = 10


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


Size = DigitsCnnSize | ResnetSize | VitSize | TextSize

SIZES: dict[str, type[Size]] = {
    "digits_cnn": DigitsCnnSize,
    "resnet": ResnetSize,
    "vit": VitSize,
    "text": TextSize,
}


def size_of(name: str, **options: int) -> Size:
    """The size of network `name`, with `options` in place of its defaults."""
    return SIZES[name](**options)


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
