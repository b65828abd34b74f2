"""Features found: which numbers of a batch belong to which feature, on the host, and what the features are called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.core.errors import ShapeError
from whence.core.features import Features, Fixed, Grid, Mask, Numbers, Part, Pixels, as_features
from whence.core.layout import Layout
from whence.core.tree import Structure, flatten

if TYPE_CHECKING:
    from whence.core.context import Context


@dataclass(frozen=True, eq=False)
class Grouping:
    """Feature numbers of every attributed tensor.

    ``masks``: one per tensor, contiguous numbers that broadcast to ``[B, ...]``; ``size`` stands for what is held
    fixed. ``counts[B]``: features of each sample. ``labels``: what a sample's features are called.
    """

    masks: tuple[np.ndarray, ...]
    counts: np.ndarray
    labels: tuple[Callable[[int], str], ...]

    @cached_property
    def size(self) -> int:
        """The most features that a sample has."""
        return int(self.counts.max())

    @cached_property
    def shared(self) -> bool:
        """Whether all samples are cut alike."""
        return all(mask.shape[0] == 1 for mask in self.masks)

    def names(self, sample: int) -> tuple[str, ...]:
        """The names of one sample's features."""
        return self.all_names[sample if len(self.labels) > 1 else 0]

    @cached_property
    def all_names(self) -> tuple[tuple[str, ...], ...]:
        """The names of each sample's features, once where all samples are cut alike."""
        each = zip(self.labels, self.counts, strict=False)
        return tuple(tuple(name(i) for i in range(int(count))) for name, count in each)

    @cached_property
    def holds_fixed(self) -> bool:
        """Whether some numbers belong to no feature."""
        return any(int(mask.max()) == self.size for mask in self.masks)

    def taken(self, rows: np.ndarray) -> Grouping:
        """The grouping of some samples."""
        return Grouping(
            tuple(m if len(m) == 1 else m[rows] for m in self.masks),
            self.counts[rows],
            self.labels if len(self.labels) == 1 else tuple(self.labels[i] for i in rows),
        )

    def spread(self, values: np.ndarray, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
        """Values per feature ``[B, F]`` at every number of each tensor ``[B, ...]``; zero where held fixed."""
        if self.holds_fixed or values.shape[1] < self.size:
            held = np.zeros((len(values), self.size + 1 - values.shape[1]), values.dtype)
            values = np.concatenate([values, held], axis=1)
        found = []
        for mask, shape in zip(self.masks, shapes, strict=True):
            if len(mask) == 1:
                at = values.take(mask[0], axis=1)
                found.append(at if at.shape == shape else np.broadcast_to(at, shape))
                continue
            flat = np.broadcast_to(mask.reshape(len(mask), -1), (len(values), mask[0].size))
            at = np.take_along_axis(values, flat, axis=1).reshape(len(values), *mask.shape[1:])
            found.append(np.broadcast_to(at, shape))
        return found


Shape = tuple[int, ...]
OF_SHAPES = (Numbers, Fixed, Grid, Pixels)
"""What cuts all inputs of one shape alike, and is found once for them."""


def find(ctx: Context, feature_mask: Any) -> Grouping:
    """The features of ``ctx.x``."""
    specs = tuple(map(as_features, _per_tensor(ctx, feature_mask)))
    names, layouts = _names_of_tensors(ctx), tuple(map(ctx.layout, range(len(ctx.x))))
    if all(type(spec) in OF_SHAPES for spec in specs):
        return _of_shapes(specs, names, layouts, tuple(map(ctx.ops.shape, ctx.x)))
    parts = [_part(ctx, *each) for each in enumerate(zip(specs, layouts, names, strict=True))]
    return _numbered(specs, parts, names, ctx.batch)


@lru_cache(maxsize=8)
def _of_shapes(
    specs: tuple[Features, ...], names: tuple[str, ...], layouts: tuple[Layout, ...], shapes: tuple[Shape, ...]
) -> Grouping:
    """The features of tensors of these shapes, whatever they hold."""
    each = zip(specs, shapes, layouts, names, strict=True)
    parts = [spec.part(np.broadcast_to(np.zeros(()), shape), layout, name) for spec, shape, layout, name in each]
    found = _numbered(specs, parts, names, shapes[0][0])
    for array in (*found.masks, found.counts):
        array.setflags(write=False)
    return found


def _numbered(specs: Sequence[Features], parts: Sequence[Part], names: Sequence[str], batch: int) -> Grouping:
    """Features of different inputs are different, unless arrays say otherwise."""
    if all(isinstance(spec, Mask) for spec in specs):
        offsets = [0] * len(parts)
    else:
        offsets = np.cumsum([0, *(int(p.mask.max()) + 1 for p in parts)])[:-1].tolist()
    return _contiguous(batch, names, parts, offsets)


def _part(ctx: Context, leaf: int, given: tuple[Features, Layout, str]) -> Part:
    """The features of one tensor; arrays have one row per sample of the user's batch, or one for all."""
    features, layout, what = given
    if features.reads_values:
        return features.part(ctx.ops.to_numpy(ctx.x[leaf]), layout, what)
    batch = np.broadcast_to(np.zeros(()), (max(ctx.positions) + 1, *ctx.ops.shape(ctx.x[leaf])[1:]))
    part = features.part(batch, layout, what)
    return part if len(part.mask) == 1 else replace(part, mask=part.mask[list(ctx.positions)])


def _names_of_tensors(ctx: Context) -> tuple[str, ...]:
    """What the attributed tensors are called."""
    place, inputs = ctx.place, ctx.place.structure.names
    return tuple(inputs[leaf] for leaf in place.leaves) if place.layer is None else (place.layer,) * len(ctx.x)


def _per_tensor(ctx: Context, feature_mask: Any) -> list[Any]:
    if ctx.place.layer is not None:
        return [feature_mask]
    structure: Structure = ctx.place.structure
    if isinstance(feature_mask, (tuple, list, dict)):
        if not structure.matches(feature_mask):
            raise ShapeError(
                "one feature_mask per input",
                received=f"a {type(feature_mask).__name__} of {len(feature_mask)}",
                valid=f"the inputs' structure, {', '.join(structure.names)}",
            )
        specs = flatten(feature_mask)[0]
        return [specs[leaf] for leaf in ctx.place.leaves]
    return [feature_mask] * len(ctx.x)


def _contiguous(batch: int, names: Sequence[str], parts: Sequence[Part], offsets: Sequence[int]) -> Grouping:
    """Feature numbers from 0 without gaps, per sample."""
    masks = [np.where(p.mask < 0, -1, p.mask + offset) for p, offset in zip(parts, offsets, strict=True)]
    rows = 1 if all(len(m) == 1 for m in masks) else batch
    found = [np.unique(np.concatenate([m[r % len(m)].ravel() for m in masks])) for r in range(rows)]
    kept = [numbers[numbers >= 0] for numbers in found]
    if any(len(numbers) == 0 for numbers in kept):
        raise ShapeError("features", received="inputs that are all held fixed", valid="one input to explain at least")
    counts = np.array([len(numbers) for numbers in kept])
    size = int(counts.max())

    def renumbered(m: np.ndarray, r: int) -> np.ndarray:
        row = m[r % len(m)]
        if found[r][0] == 0 and found[r][-1] == len(found[r]) - 1:  # without gaps as they are
            return np.asarray(row)
        return np.where(row < 0, size, np.searchsorted(kept[r], row))

    new = tuple(
        renumbered(m, 0)[None] if len(m) == 1 and rows == 1 else np.stack([renumbered(m, r) for r in range(rows)])
        for m in masks
    )
    namer = _names(names, parts, offsets)
    labels = tuple((lambda i, numbers=numbers: namer(int(numbers[i]))) for numbers in kept)
    return Grouping(new, np.repeat(counts, batch) if rows == 1 else counts, labels)


def _names(names: Sequence[str], parts: Sequence[Part], offsets: Sequence[int]) -> Callable[[int], str]:
    """The name of a feature by the number that its input and its mask give it."""
    apart = len(set(offsets)) > 1

    def name(number: int) -> str:
        leaf = max(i for i, offset in enumerate(offsets) if offset <= number) if apart else 0
        part, own = parts[leaf], number - offsets[leaf]
        if part.names is not None and own < len(part.names):
            return str(part.names[own])
        prefix = f"{names[leaf]} " if apart else ""
        return f"{prefix}feature {own}"

    return name
