"""Features: groups of input numbers that are present or absent together.

Wherever a method takes ``feature_mask``, these are valid: ``None`` (each number is a feature of its own), an array of
whole numbers that broadcasts to a sample or to the batch (equal numbers are one feature, across inputs too; numbers
need not be contiguous), an object of this module, or one of these per input in the inputs' structure.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from whence.core.errors import ParameterError, ShapeError
from whence.core.layout import Layout
from whence.core.validation import one_of, positive_int

VALID = (
    "None, an array of whole numbers that broadcasts to the input, a whence.features object, or one of these per input"
)
SEGMENTATIONS = ("quickshift", "slic", "felzenszwalb", "watershed")


@dataclass(frozen=True)
class Part:
    """The features of one input: ``mask`` holds their numbers and broadcasts to ``[B, ...]``; -1 is held fixed.

    ``names`` has the name of number i at i, where features have names of their own.
    """

    mask: np.ndarray
    names: tuple[str, ...] | None = None


class Features(ABC):
    """How one input is cut into features."""

    reads_values: ClassVar[bool] = True
    """Whether the features depend on more than the input's shape."""

    @abstractmethod
    def part(self, values: np.ndarray, layout: Layout, what: str) -> Part:
        """The features of an input ``[B, ...]``; ``what`` is its name for messages."""


@dataclass(frozen=True)
class Numbers(Features):
    """Each number is a feature."""

    reads_values: ClassVar[bool] = False

    def part(self, values: np.ndarray, layout: Layout, what: str) -> Part:
        return Part(np.arange(values[0].size).reshape(1, *values.shape[1:]))


@dataclass(frozen=True)
class Fixed(Features):
    """The input is held fixed: no method takes any of it away."""

    reads_values: ClassVar[bool] = False

    def part(self, values: np.ndarray, layout: Layout, what: str) -> Part:
        return Part(np.full([1] * values.ndim, -1))


@dataclass(frozen=True)
class Grid(Features):
    """Patches of images, signals or volumes: ``patch`` positions along each spatial axis, all channels together.

    ``patch``: an int or one per spatial axis. Patches at the far border are smaller where the sides do not divide.
    """

    reads_values: ClassVar[bool] = False

    patch: int | tuple[int, ...] = 16

    def __post_init__(self) -> None:
        for size in self.patch if isinstance(self.patch, tuple) else (self.patch,):
            positive_int("patch", size)

    def part(self, values: np.ndarray, layout: Layout, what: str) -> Part:
        axes = _spatial(layout, values, what)
        sizes = self.patch if isinstance(self.patch, tuple) else (self.patch,) * len(axes)
        if len(sizes) != len(axes):
            raise ParameterError("patch", received=repr(self.patch), valid=f"an int, or {len(axes)} of them")
        mask = np.zeros([1] * values.ndim, np.int64)
        for axis, size in zip(axes, sizes, strict=True):
            count = -(-values.shape[axis] // size)
            mask = mask * count + _along(np.arange(values.shape[axis]) // size, axis, values.ndim)
        return Part(mask)


@dataclass(frozen=True)
class Pixels(Features):
    """Each position of an image, signal or volume, all channels together."""

    reads_values: ClassVar[bool] = False

    def part(self, values: np.ndarray, layout: Layout, what: str) -> Part:
        return Grid(1).part(values, layout, what)


@dataclass(frozen=True)
class Superpixels(Features):
    """Segments of each image by scikit-image, all channels together.

    ``algorithm``: ``"quickshift"``, ``"slic"``, ``"felzenszwalb"`` or ``"watershed"`` (of the gradient's size);
    ``options`` are its own arguments. Quickshift is that of the lime package unless told otherwise.
    """

    algorithm: str = "quickshift"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one_of("algorithm", self.algorithm, SEGMENTATIONS)

    def part(self, values: np.ndarray, layout: Layout, what: str) -> Part:
        axes = _spatial(layout, values, what)
        if len(axes) != 2 or layout.channel is None:
            raise ShapeError(f"superpixels of {what}", received=f"shape {values.shape}", valid="images")
        images = np.moveaxis(values, layout.channel, -1)
        segments = np.stack([self._segments(image) for image in images])
        return Part(np.expand_dims(segments, layout.channel))

    def _segments(self, image: np.ndarray) -> np.ndarray:
        """``[H, W]`` segment numbers of an image ``[H, W, C]``, scaled to 0..1 first."""
        from skimage import color, filters, segmentation

        low, high = float(image.min()), float(image.max())
        image = np.asarray(image, np.float64) if low >= 0 and high <= 1 else (image - low) / ((high - low) or 1.0)
        if self.algorithm == "watershed":
            grey = image.mean(axis=-1)
            found = segmentation.watershed(filters.sobel(grey), **{"markers": 50, "compactness": 0.001, **self.options})
        elif self.algorithm == "quickshift":
            lime = {"kernel_size": 4, "max_dist": 200, "ratio": 0.2}
            three = image if image.shape[-1] == 3 else color.gray2rgb(image.mean(axis=-1))
            found = segmentation.quickshift(three, **{**lime, **self.options})
        elif self.algorithm == "slic":
            found = segmentation.slic(image, **{"n_segments": 50, "channel_axis": -1, "start_label": 0, **self.options})
        else:
            found = segmentation.felzenszwalb(
                image, **{"scale": 100, "min_size": 50, "channel_axis": -1, **self.options}
            )
        return np.asarray(found, np.int64)


@dataclass(frozen=True)
class Columns(Features):
    """Columns of a table ``[B, F]``, by name, alone or in groups.

    ``names``: one per column. ``groups``: group name to its columns, by name or position; columns in no group are
    features by themselves.
    """

    reads_values: ClassVar[bool] = False

    names: Sequence[str] | None = None
    groups: Mapping[str, Sequence[str | int]] | None = None

    def part(self, values: np.ndarray, layout: Layout, what: str) -> Part:
        if values.ndim != 2:
            raise ShapeError(f"columns of {what}", received=f"shape {values.shape}", valid="a table [B, F]")
        names = [f"column {i}" for i in range(values.shape[1])] if self.names is None else list(self.names)
        if len(names) != values.shape[1]:
            raise ShapeError(
                f"names of the columns of {what}", received=f"{len(names)} names", valid=f"{values.shape[1]} of them"
            )
        group_of = {self._column(c, names): group for group, members in (self.groups or {}).items() for c in members}
        labels = [group_of.get(i, name) for i, name in enumerate(names)]
        numbers = {label: i for i, label in enumerate(dict.fromkeys(labels))}
        return Part(np.array([[numbers[label] for label in labels]]), tuple(numbers))

    @staticmethod
    def _column(column: str | int, names: Sequence[str]) -> int:
        if isinstance(column, str) and column in names:
            return names.index(column)
        if isinstance(column, int) and 0 <= column < len(names):
            return column
        raise ParameterError("a column of a group", received=repr(column), valid=f"one of {', '.join(names)}")


@dataclass(frozen=True)
class Tokens(Features):
    """Positions along the first axis after the batch: tokens of ``[B, T]`` ids, or of ``[B, T, D]`` embeddings.

    ``words``: for each position the number of its word, ``[T]`` or ``[B, T]``: positions of one word go together.
    ``names``: of the positions, or of the words, in order.
    """

    reads_values: ClassVar[bool] = False

    words: Any = None
    names: Sequence[str] | None = None

    def part(self, values: np.ndarray, layout: Layout, what: str) -> Part:
        if values.ndim < 2:
            raise ShapeError(f"tokens of {what}", received=f"shape {values.shape}", valid="[B, T] or [B, T, ...]")
        words = np.arange(values.shape[1]) if self.words is None else np.asarray(self.words)
        whole = words.ndim in (1, 2) and words.dtype.kind in "iu" and words.shape[-1] == values.shape[1]
        if not whole or (words.ndim == 2 and len(words) not in (1, len(values))):
            raise ShapeError(
                f"word numbers of {what}",
                received=f"shape {words.shape} of {words.dtype}",
                valid=f"whole numbers ({values.shape[1]},) or {values.shape[:2]}",
            )
        words = np.atleast_2d(words)
        mask = words.reshape(*words.shape, *[1] * (values.ndim - 2))
        return Part(mask, None if self.names is None else tuple(self.names))


@dataclass(frozen=True, eq=False)
class Mask(Features):
    """Features as an array of whole numbers gives them."""

    reads_values: ClassVar[bool] = False

    numbers: Any

    def part(self, values: np.ndarray, layout: Layout, what: str) -> Part:
        from whence.core.baselines import host

        mask = host(self.numbers)
        if mask.dtype.kind not in "iu":
            raise ParameterError(f"feature_mask of {what}", received=f"an array of {mask.dtype}", valid=VALID)
        if (mask < 0).any():
            raise ParameterError(f"feature_mask of {what}", received="negative numbers", valid="numbers from 0")
        if mask.ndim < values.ndim:
            mask = mask[(None,) * (values.ndim - mask.ndim)]
        fits = mask.ndim == values.ndim and all(
            have in (1, full) for have, full in zip(mask.shape, values.shape, strict=True)
        )
        if not fits:
            raise ShapeError(
                f"feature_mask of {what}",
                received=f"shape {host(self.numbers).shape}",
                valid=f"what broadcasts to {values.shape[1:]} or {values.shape}",
            )
        return Part(np.asarray(mask, np.int64))


def as_features(spec: Any) -> Features:
    """What the user gave for one input."""
    if spec is None:
        return Numbers()
    if isinstance(spec, Features):
        return spec
    if hasattr(spec, "shape") or hasattr(spec, "__array__"):
        return Mask(spec)
    raise ParameterError("feature_mask", received=repr(spec), valid=VALID)


def _spatial(layout: Layout, values: np.ndarray, what: str) -> tuple[int, ...]:
    if not layout.spatial:
        raise ShapeError(
            f"positions of {what}",
            received=f"shape {values.shape} of unknown layout",
            valid='images, signals or volumes, their layout declared: whence.wrap(model, layout="NHWC")',
        )
    return layout.spatial


def _along(numbers: np.ndarray, axis: int, rank: int) -> np.ndarray:
    """A vector laid along one of ``rank`` axes."""
    return numbers.reshape([-1 if i == axis else 1 for i in range(rank)])
