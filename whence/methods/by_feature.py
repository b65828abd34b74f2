"""What methods over features share: finding them, samples with equally many of them together, packing the result."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from whence.core import grouping as features
from whence.core.coalitions import Game
from whence.core.context import Context
from whence.core.feature_values import FeatureValues
from whence.core.grouping import Grouping
from whence.core.method import Attribution, Method


@dataclass(frozen=True)
class Estimate:
    """What was found for samples with F features each: ``values[B, F]``, and ``std_error`` alike where sampled.

    ``empty[B]`` is v of no feature, where the values claim to add up to the change from it.
    """

    values: np.ndarray
    std_error: np.ndarray | None = None
    empty: np.ndarray | None = None
    interactions: np.ndarray | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, repr=False)
class FeatureMethod(Method):
    """Base of the methods that take features away.

    ``feature_mask`` says which numbers of the input belong together (see ``whence.features``), ``baseline`` what
    stands in the place of absent ones (see ``whence.baselines``); a ``DataSet`` there is a background: scores are
    averaged over all of its rows.
    """

    needs_gradient: ClassVar[bool] = False
    attributes_whole_numbers: ClassVar[bool] = True
    shares_passes: ClassVar[bool] = True

    feature_mask: Any = None
    baseline: Any = "zeros"

    @abstractmethod
    def estimate(self, game: Game) -> Estimate:
        """The values of the game's features."""

    def grouping(self, ctx: Context) -> Grouping:
        """The features."""
        return features.find(ctx, self.feature_mask)

    def compute(self, ctx: Context) -> Attribution:
        return self.computed(ctx, self.baseline)

    def computed(self, ctx: Context, baseline: Any) -> Attribution:
        """The attribution with this baseline in the place of absent features."""
        grouping = self.grouping(ctx)
        found = []
        for count in [grouping.size] if grouping.shared else np.unique(grouping.counts):
            rows = np.arange(ctx.batch) if grouping.shared else np.flatnonzero(grouping.counts == count)
            whole = len(rows) == ctx.batch
            game = Game(
                ctx if whole else ctx.taken(rows.tolist()), grouping if whole else fitted(grouping, rows), baseline
            )
            found.append((rows, self.estimate(game)))
        return attribution(ctx, grouping, found)


def fitted(grouping: Grouping, rows: np.ndarray) -> Grouping:
    """The grouping of samples with equally many features: the number for "held fixed" follows their count."""
    part, count = grouping.taken(rows), int(grouping.counts[rows[0]])
    masks = tuple(np.where(mask == grouping.size, count, mask) for mask in part.masks)
    return Grouping(masks, part.counts, part.labels)


def attribution(ctx: Context, grouping: Grouping, found: list[tuple[np.ndarray, Estimate]]) -> Attribution:
    """Estimates of parts of the batch as one attribution, spread to the inputs' shapes and kept per feature."""

    def gathered(name: str) -> np.ndarray | None:
        parts = [(rows, getattr(estimate, name)) for rows, estimate in found]
        if len(parts) == 1:
            return parts[0][1]  # type: ignore[no-any-return]
        if any(part is None for _, part in parts):
            return None
        features = [grouping.size] * (np.ndim(parts[0][1]) - 1)
        whole = np.full([ctx.batch, *features], np.nan)
        for rows, part in parts:
            place: Any = (rows, *(slice(n) for n in part.shape[1:]))
            whole[place] = part
        return whole

    values, errors, empty = gathered("values"), gathered("std_error"), gathered("empty")
    assert values is not None
    kept = FeatureValues(values, grouping.all_names, grouping.masks, errors, gathered("interactions"))
    return Attribution(
        spread(ctx, grouping, values),
        baseline_score=None if empty is None else ctx.ops.asarray(empty, like=ctx.score),
        std_error=None if errors is None else spread(ctx, grouping, errors),
        features=kept,
        notes=_notes(found),
    )


def spread(ctx: Context, grouping: Grouping, values: np.ndarray) -> tuple[Any, ...]:
    """Values per feature as tensors like the attributed ones, floating-point where those are whole numbers."""
    shapes = [ctx.ops.shape(x) for x in ctx.x]
    host = grouping.spread(values, shapes)
    return tuple(
        ctx.ops.asarray(np.ascontiguousarray(h), like=x if ctx.ops.is_floating(x) else ctx.score)
        for h, x in zip(host, ctx.x, strict=True)
    )


def _notes(found: list[tuple[np.ndarray, Estimate]]) -> dict[str, Any]:
    """Notes per sample in the order of the batch; those about all samples as they are."""
    if len(found) == 1:
        return dict(found[0][1].notes)
    notes: dict[str, Any] = {}
    for name in found[0][1].notes:
        by_row: dict[int, Any] = {}
        for rows, estimate in found:
            note = estimate.notes[name]
            each = isinstance(note, (list, np.ndarray)) and len(note) == len(rows)
            by_row |= {int(row): note[i] if each else note for i, row in enumerate(rows)}
        notes[name] = [by_row[row] for row in sorted(by_row)]
    return notes
