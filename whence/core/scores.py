"""Scores beyond one entry of the output: contrasts, regions, boxes, similarities. Public as ``whence.targets``.

Each is a value that may be given as ``target``. What it holds per sample follows the samples through chunks and
repetitions, which a plain callable on the outputs cannot do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from whence.core.errors import TargetError
from whence.core.ops import Ops, Tensor


class Score(ABC):
    """A score of the outputs ``[rows, ...]`` and of what is known of each row's sample."""

    @abstractmethod
    def per_sample(self, batch: int) -> np.ndarray:
        """What belongs to each sample, ``[batch, ...]``."""

    @abstractmethod
    def score(self, ops: Ops, outputs: Tensor, known: Tensor) -> Tensor:
        """Scores ``[rows]``, differentiable; ``known[rows, ...]`` is ``per_sample`` of each row."""

    def check(self, output_shape: Sequence[int], known: np.ndarray) -> None:  # noqa: B027
        """Raise TargetError where what is known, on the host, does not fit the outputs."""


@dataclass(frozen=True)
class Contrast(Score):
    """One class against another: ``output[of] - output[against]`` of outputs ``[B, classes]``.

    Each an int, or a sequence of one per sample.
    """

    of: Any = field(compare=False)
    against: Any = field(compare=False)

    def per_sample(self, batch: int) -> np.ndarray:
        pair = [_rows(side, batch, (), "a class of Contrast") for side in (self.of, self.against)]
        if any(p.dtype.kind not in "iu" or p.min() < 0 for p in pair):
            raise TargetError("the classes of Contrast", received=f"{self.of!r}, {self.against!r}", valid="ints >= 0")
        return np.stack(pair, axis=1).astype(np.int64)

    def check(self, output_shape: Sequence[int], known: np.ndarray) -> None:
        if known.max() >= output_shape[1]:
            raise TargetError("the classes of Contrast", received=str(known.max()), valid=f"0 to {output_shape[1] - 1}")

    def score(self, ops: Ops, outputs: Tensor, known: Tensor) -> Tensor:
        _require_rank(ops, outputs, 2, "Contrast", "[B, classes]")
        pair = ops.take_along_axis(outputs, ops.clip(known, 0, ops.shape(outputs)[1] - 1), axis=1)
        return pair[:, 0] - pair[:, 1]


@dataclass(frozen=True)
class Region(Score):
    """The mean of one class over a region, for maps of classes such as a segmentation's.

    ``mask``: ``[H, W]`` for all samples or ``[B, H, W]``, true or a weight where a pixel counts. ``category``: the
    class, None for outputs ``[B, H, W]``. ``axis``: where the classes stand, 1 for ``[B, classes, H, W]``, -1 for
    ``[B, H, W, classes]``.
    """

    mask: Any = field(compare=False)
    category: int | None = None
    axis: int = 1

    def per_sample(self, batch: int) -> np.ndarray:
        mask = np.asarray(_host(self.mask), np.float32)
        mask = np.broadcast_to(mask, (batch, *mask.shape)) if mask.ndim == 2 else mask
        if mask.ndim != 3 or len(mask) != batch or not (mask.reshape(batch, -1) != 0).any(axis=1).all():
            raise TargetError("the mask of Region", received=f"shape {mask.shape}",
                              valid=f"[H, W] or [{batch}, H, W], with at least one pixel in each")  # fmt: skip
        return np.asarray(mask / mask.sum(axis=(1, 2), keepdims=True))

    def score(self, ops: Ops, outputs: Tensor, known: Tensor) -> Tensor:
        if self.category is not None:
            _require_rank(ops, outputs, 4, "Region of a category", "[B, classes, H, W]")
            classes = ops.shape(outputs)[self.axis]
            if not 0 <= self.category < classes:
                raise TargetError("the category of Region", received=repr(self.category), valid=f"0 to {classes - 1}")
            outputs = outputs[:, self.category] if self.axis == 1 else outputs[..., self.category]
        if ops.shape(outputs) != ops.shape(known):
            raise TargetError("the mask of Region", received=f"{ops.shape(known)[1:]} pixels",
                              valid=f"{ops.shape(outputs)[1:]}, as the outputs have")  # fmt: skip
        return ops.sum(outputs * ops.astype(known, ops.dtype(outputs)), axis=(1, 2))


@dataclass(frozen=True)
class Similarity(Score):
    """The cosine between the outputs ``[B, D]`` and an embedding, ``[D]`` for all samples or ``[B, D]``."""

    embedding: Any = field(compare=False)

    def per_sample(self, batch: int) -> np.ndarray:
        values = np.asarray(_host(self.embedding), np.float64)
        rows = _rows(values, batch, values.shape[-1:], "the embedding of Similarity")
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))

    def score(self, ops: Ops, outputs: Tensor, known: Tensor) -> Tensor:
        if ops.shape(outputs) != ops.shape(known):
            raise TargetError("the embedding of Similarity", received=f"{ops.shape(known)[1:]} numbers",
                              valid=f"{ops.shape(outputs)[1:]}, as the outputs have")  # fmt: skip
        size = ops.sqrt(ops.sum(outputs**2, axis=1))
        return ops.sum(outputs * ops.astype(known, ops.dtype(outputs)), axis=1) / size


@dataclass(frozen=True)
class Box(Score):
    """The score a detector gives to the box that overlaps most with a given one, of outputs ``[B, N, 4 + classes]``.

    ``corners``: x1, y1, x2, y2, ``[4]`` for all samples or ``[B, 4]``. Of each detected box the first four numbers are
    its corners, in the same units, and the ones after ``first_class`` its scores by class; ``category`` is the class.
    """

    corners: Any = field(compare=False)
    category: int = 0
    first_class: int = 4

    def per_sample(self, batch: int) -> np.ndarray:
        return _rows(np.asarray(_host(self.corners), np.float64), batch, (4,), "the corners of Box")

    def score(self, ops: Ops, outputs: Tensor, known: Tensor) -> Tensor:
        _require_rank(ops, outputs, 3, "Box", "[B, N, 4 + classes]")
        column, columns = self.first_class + self.category, ops.shape(outputs)[2]
        if not self.first_class <= column < columns:
            raise TargetError("the category of Box", received=repr(self.category),
                              valid=f"0 to {columns - self.first_class - 1}")  # fmt: skip
        known = ops.astype(known, ops.dtype(outputs))[:, None]
        best = ops.argmax(_overlap(ops, ops.stop_gradient(outputs[..., :4]), known), axis=1, keepdims=True)
        return ops.take_along_axis(outputs[..., column], best, axis=1)[:, 0]


def _overlap(ops: Ops, a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes ``[..., 4]``."""
    low, high = ops.maximum(a[..., :2], b[..., :2]), ops.minimum(a[..., 2:], b[..., 2:])
    sides = ops.maximum(high - low, ops.zeros_like(low))
    shared = sides[..., 0] * sides[..., 1]

    def area(box: Tensor) -> Tensor:
        return (box[..., 2] - box[..., 0]) * (box[..., 3] - box[..., 1])

    return shared / (area(a) + area(b) - shared)


def _rows(value: Any, batch: int, shape: tuple[int, ...], what: str) -> np.ndarray:
    """One value for all samples, or one for each, as ``[batch, *shape]``."""
    array = np.asarray(_host(value))
    if array.shape == shape:
        return np.broadcast_to(array, (batch, *shape))
    if array.shape != (batch, *shape):
        raise TargetError(what, received=f"shape {array.shape}", valid=f"{shape} or {(batch, *shape)}")
    return array


def _host(value: Any) -> Any:
    return value.detach().cpu() if hasattr(value, "detach") else value


def _require_rank(ops: Ops, outputs: Tensor, rank: int, what: str, valid: str) -> None:
    if len(ops.shape(outputs)) != rank:
        raise TargetError(what, received=f"outputs of shape {ops.shape(outputs)}", valid=f"outputs {valid}")
