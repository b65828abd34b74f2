"""Features found: which numbers of a batch belong to which feature, on the host, and what the features are called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.core.errors import ShapeError
from whence.core.features import Mask, Part, as_features
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
        name = self.labels[sample if len(self.labels) > 1 else 0]
        return tuple(name(i) for i in range(int(self.counts[sample])))

    def taken(self, rows: np.ndarray) -> Grouping:
        """The grouping of some samples."""
        return Grouping(
            tuple(m if len(m) == 1 else m[rows] for m in self.masks),
            self.counts[rows],
            self.labels if len(self.labels) == 1 else tuple(self.labels[i] for i in rows),
        )

    def spread(self, values: np.ndarray, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
        """Values per feature ``[B, F]`` at every number of each tensor ``[B, ...]``; zero where held fixed."""
        held = np.zeros((len(values), self.size + 1 - values.shape[1]), values.dtype)
        padded = np.concatenate([values, held], axis=1)
        found = []
        for mask, shape in zip(self.masks, shapes, strict=True):
            if len(mask) == 1:
                found.append(np.broadcast_to(padded[:, mask[0]], shape))
                continue
            flat = np.broadcast_to(mask.reshape(len(mask), -1), (len(values), mask[0].size))
            at = np.take_along_axis(padded, flat, axis=1).reshape(len(values), *mask.shape[1:])
            found.append(np.broadcast_to(at, shape))
        return found


def find(ctx: Context, feature_mask: Any) -> Grouping:
    """The features of ``ctx.x``."""
    specs = _per_tensor(ctx, feature_mask)
    parts = [_part(ctx, leaf, spec) for leaf, spec in enumerate(specs)]
    if all(isinstance(as_features(spec), Mask) for spec in specs):
        offsets = [0] * len(parts)
    else:  # features of different inputs are different, unless arrays say otherwise
        offsets = np.cumsum([0, *(int(p.mask.max()) + 1 for p in parts)])[:-1].tolist()
    return _contiguous(ctx, parts, offsets)


def _part(ctx: Context, leaf: int, spec: Any) -> Part:
    """The features of one tensor; arrays have one row per sample of the user's batch, or one for all."""
    place, features, shape = ctx.place, as_features(spec), ctx.ops.shape(ctx.x[leaf])
    what = place.layer or place.structure.names[place.leaves[leaf]]
    if features.reads_values:
        return features.part(ctx.ops.to_numpy(ctx.x[leaf]), ctx.layout(leaf), what)
    batch = np.broadcast_to(np.zeros(()), (max(ctx.positions) + 1, *shape[1:]))
    part = features.part(batch, ctx.layout(leaf), what)
    return part if len(part.mask) == 1 else replace(part, mask=part.mask[list(ctx.positions)])


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


def _contiguous(ctx: Context, parts: Sequence[Part], offsets: Sequence[int]) -> Grouping:
    """Feature numbers from 0 without gaps, per sample."""
    masks = [np.where(p.mask < 0, -1, p.mask + offset) for p, offset in zip(parts, offsets, strict=True)]
    rows = 1 if all(len(m) == 1 for m in masks) else ctx.batch
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
    namer = _names(ctx, parts, offsets)
    labels = tuple((lambda i, numbers=numbers: namer(int(numbers[i]))) for numbers in kept)
    return Grouping(new, np.repeat(counts, ctx.batch) if rows == 1 else counts, labels)


def _names(ctx: Context, parts: Sequence[Part], offsets: Sequence[int]) -> Callable[[int], str]:
    """The name of a feature by the number that its input and its mask give it."""
    place, several = ctx.place, len(parts) > 1

    def name(number: int) -> str:
        leaf = max(i for i, offset in enumerate(offsets) if offset <= number) if len(set(offsets)) > 1 else 0
        part, own = parts[leaf], number - offsets[leaf]
        if part.names is not None and own < len(part.names):
            return str(part.names[own])
        prefix = f"{place.structure.names[place.leaves[leaf]]} " if several and len(set(offsets)) > 1 else ""
        return f"{prefix}feature {own}"

    return name
