"""Anchors: a few features that hold a prediction, whatever happens to the others.

    A is an anchor of x if P(f(z) = f(x) | z satisfies A) >= threshold with probability 1 - delta,

found with the largest coverage P(z satisfies A). Ribeiro, Singh and Guestrin 2018, AAAI,
doi 10.1609/aaai.v32i1.11491. For tables z are training rows, for images and texts the sample with features taken away.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, ClassVar

import numpy as np
from einops import rearrange

from whence.core import grouping as features
from whence.core import replacement
from whence.core.baselines import FeatureMean
from whence.core.coalitions import Composed, device_masks
from whence.core.context import Context
from whence.core.engine import host_scores_over_variants
from whence.core.errors import ParameterError
from whence.core.features import Superpixels
from whence.core.grouping import Grouping
from whence.core.method import Attribution, Method
from whence.core.ops import Ops, Tensor
from whence.core.sampling import generator
from whence.core.table import Table
from whence.core.target import Target
from whence.core.validation import integer, positive_int
from whence.methods.anchor_search import Found, Rule, Search, search
from whence.methods.by_feature import Estimate, attribution, fitted
from whence.methods.lime_tabular import require_rows, rows_scores


@dataclass(frozen=True)
class PredictedClass:
    """The number of the predicted class as a score ``[B]``; of a single output, whether it is above one half."""

    ops: Ops

    def __call__(self, outputs: Tensor) -> Tensor:
        """``[B]``, floating-point."""
        flat = rearrange(outputs, "b ... -> b (...)")
        if self.ops.shape(flat)[1] == 1:
            return self.ops.astype(flat[:, 0] > 0.5, "float32")
        return self.ops.astype(self.ops.argmax(flat, axis=1), "float32")


@dataclass(frozen=True, kw_only=True, repr=False)
class Anchor(Method):
    """Base of the three; see the classes below. ``target`` is the class that is to stay, the predicted one if None."""

    needs_gradient: ClassVar[bool] = False
    attributes_whole_numbers: ClassVar[bool] = True

    threshold: float = 0.95
    delta: float = 0.05
    tau: float = 0.15
    beam_size: int = 2
    n_samples: int = 100
    n_check: int = 1000
    max_size: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("threshold", "delta", "tau"):
            if not 0 < getattr(self, name) < 1:
                raise ParameterError(name, received=repr(getattr(self, name)), valid="a number between 0 and 1")
        for name in ("beam_size", "n_samples", "n_check"):
            positive_int(name, getattr(self, name))
        if self.max_size is not None:
            positive_int("max_size", self.max_size)
        integer("seed", self.seed)

    @abstractmethod
    def grouping(self, ctx: Context) -> Grouping:
        """The features that a rule may name."""

    @abstractmethod
    def draws(self, ctx: Context, grouping: Grouping) -> tuple[Callable[..., np.ndarray], Callable[[Rule], float]]:
        """For one sample: ``classes(rule of each draw, generator)[K]`` of draws, and the coverage of a rule."""

    def compute(self, ctx: Context) -> Attribution:
        index = ctx.target.index
        if index is None or index.shape[1] != 1 or self.neuron is not None:
            raise ParameterError(
                f"{self.name}",
                received="a target that is no class",
                valid="target=None or the number of a class for each sample",
            )
        grouping, found = self.grouping(ctx), []
        per_class = self._per_class(ctx)
        by_class = Target(fn=PredictedClass(ctx.ops))
        for b in range(ctx.batch):
            own = replace(ctx.taken([b]), given_target=by_class)
            part = fitted(grouping, np.array([b]))
            classes, coverage = self.draws(own, part)
            first = float(np.asarray(ctx.ops.to_numpy(own.score))[0])
            single = float(index[b, 0]) if per_class else first
            found.append(self._searched(classes, coverage, part.size, single))
        return self._packed(ctx, grouping, found)

    @staticmethod
    def _per_class(ctx: Context) -> bool:
        """Whether the model gives one number per class, and not a single one."""
        inputs = ctx.taken([0]).inputs
        output = ctx.ops.evaluate(lambda *leaves: ctx.model.run(ctx.place.structure.unflatten(leaves))[0], *inputs)
        ctx.work.forward_rows += 1
        return prod(ctx.ops.shape(output)[1:]) > 1

    def _searched(
        self, classes: Callable[..., np.ndarray], coverage: Callable[[Rule], float], size: int, wanted: float
    ) -> Found:
        calls = iter(range(2**31))

        def sampler(rules: Sequence[Rule], count: int) -> np.ndarray:
            # rule by rule: the draws are the same however the framework likes its chunks, and of few shapes to compile
            drawn = [classes([rule] * count, generator(self.seed, "anchor", 0, next(calls))) for rule in rules]
            return np.asarray(np.reshape(drawn, (len(rules), count)) == wanted)

        settings = Search(
            self.threshold, self.delta, self.tau, self.n_samples, self.beam_size, self.max_size, self.n_check
        )
        return search(settings, size, sampler, coverage)

    def _packed(self, ctx: Context, grouping: Grouping, found: Sequence[Found]) -> Attribution:
        estimates = []
        for b, one in enumerate(found):
            values = np.zeros((1, int(grouping.counts[b])))
            values[0, list(one.rule)] = 1
            estimates.append((np.array([b]), Estimate(values)))
        packed = attribution(ctx, grouping, estimates)
        names = [[grouping.names(b)[i] for i in one.rule] for b, one in enumerate(found)]
        notes = {
            "anchor": names,
            "precision": [one.precision for one in found],
            "precision_low": [one.low for one in found],
            "precision_high": [one.high for one in found],
            "coverage": [one.coverage for one in found],
            "reached": [one.reached for one in found],
        }
        return replace(packed, notes=notes)


@dataclass(frozen=True, kw_only=True, repr=False)
class AnchorTabular(Anchor):
    """Columns that hold a row's class as long as they stay in their intervals: ``[B, F]``, 1 where in the anchor.

    ``data``: training rows ``[M, F]``, cut as by LIMETabular. A draw is a training row in which each column of the rule
    takes the value of a training row in the sample's interval; coverage is the share of training rows that satisfy
    the rule. The anchor's precision is at least ``threshold`` with probability 1 - ``delta``; ``tau`` is how exactly
    the best of the rules of one length are told apart, ``beam_size`` how many of them are kept, ``n_samples`` are
    drawn at a time. Precision and bounds in the notes are those of ``n_check`` draws made afterwards.

    Source: Ribeiro, Singh and Guestrin 2018, doi 10.1609/aaai.v32i1.11491.
    """

    name: ClassVar[str] = "anchor_tabular"

    data: Any = None
    names: Sequence[str] | None = None
    categorical: tuple[int, ...] = ()
    percentiles: tuple[float, ...] = (25, 50, 75)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.data is None:
            raise ParameterError("data of anchor_tabular", received="None", valid="training rows [M, F]")
        self._table()

    def _table(self) -> Table:
        return Table(self.data, self.percentiles, self.categorical, self.names)

    def grouping(self, ctx: Context) -> Grouping:
        table, x = self._table(), np.asarray(ctx.ops.to_numpy(ctx.x[0]), np.float64)
        require_rows(ctx, table)
        own = table.cells(x)
        names = [[table.described(c, own[b, c], x[b, c]) for c in range(table.width)] for b in range(ctx.batch)]
        return Grouping(
            (np.arange(table.width)[None],), np.full(ctx.batch, table.width), tuple(row.__getitem__ for row in names)
        )

    def draws(self, ctx: Context, grouping: Grouping) -> tuple[Callable[..., np.ndarray], Callable[[Rule], float]]:
        table, x = self._table(), np.asarray(ctx.ops.to_numpy(ctx.x[0]))
        inside = table.training_cells == table.cells(np.asarray(x, np.float64))[0]
        members = [table.data[inside[:, c], c] if inside[:, c].any() else x[0, c : c + 1] for c in range(table.width)]

        def classes(rules: Sequence[Rule], rng: np.random.Generator) -> np.ndarray:
            rows = np.array(table.data[rng.integers(0, len(table.data), len(rules))])
            for c, own in enumerate(members):
                held = np.array([c in rule for rule in rules])
                rows[held, c] = own[rng.integers(0, len(own), int(held.sum()))]
            return rows_scores(ctx, rows)[:, 0]

        return classes, lambda rule: float(inside[:, list(rule)].all(axis=1).mean())


@dataclass(frozen=True, kw_only=True, repr=False)
class PresentAnchor(Anchor):
    """Base of anchors whose features are present or replaced: a draw keeps the rule's and half of the others."""

    feature_mask: Any = None
    baseline: Any = "zeros"
    probability: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.probability < 1:
            raise ParameterError("probability", received=repr(self.probability), valid="a number between 0 and 1")

    def grouping(self, ctx: Context) -> Grouping:
        return features.find(ctx, self.feature_mask)

    def draws(self, ctx: Context, grouping: Grouping) -> tuple[Callable[..., np.ndarray], Callable[[Rule], float]]:
        fill = replacement.find(ctx, self.baseline, grouping)
        masks, n = device_masks(ctx, grouping), grouping.size

        def classes(rules: Sequence[Rule], rng: np.random.Generator) -> np.ndarray:
            table = np.ones((len(rules), n + 1), bool)
            table[:, :n] = rng.random((len(rules), n)) < self.probability
            for row, rule in zip(table, rules, strict=True):
                row[list(rule)] = True
            which = rng.integers(0, fill.count, len(rules))

            def keep(points: range, samples: slice) -> np.ndarray:
                return table[points.start : points.stop, None]

            def rows(points: range, samples: slice) -> tuple[np.ndarray, ...]:
                found = [fill.rows[0](range(r, r + 1), samples) for r in which[points.start : points.stop].tolist()]
                return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))

            scores = host_scores_over_variants(
                ctx, Composed(ctx.ops, grouping.shared), samples=(ctx.x, masks, *fill.samples),
                draws=(*([rows] if fill.rows else []), keep), count=len(rules),
            )  # fmt: skip
            return scores[:, 0]

        return classes, lambda rule: float(self.probability ** len(rule))


@dataclass(frozen=True, kw_only=True, repr=False)
class AnchorImage(PresentAnchor):
    """Superpixels that hold an image's class whatever replaces the others: ``[B, ...]``, 1 where in the anchor.

    Features are quickshift superpixels in their mean colour unless ``feature_mask`` and ``baseline`` say otherwise; a
    ``DataSet`` of images as ``baseline`` shows another one behind in each draw. Each feature outside the rule is
    present with ``probability``; coverage is the share of draws that satisfy the rule. The other fields: see
    AnchorTabular.

    Source: Ribeiro, Singh and Guestrin 2018, doi 10.1609/aaai.v32i1.11491.
    """

    name: ClassVar[str] = "anchor_image"

    baseline: Any = field(default_factory=FeatureMean)

    def grouping(self, ctx: Context) -> Grouping:
        return features.find(ctx, Superpixels() if self.feature_mask is None else self.feature_mask)


@dataclass(frozen=True, kw_only=True, repr=False)
class AnchorText(PresentAnchor):
    """Words that hold a text's class whatever replaces the others: ``[B, T]``, 1 where in the anchor.

    Absent words are the unknown token, ``baseline``; a ``DataSet`` of token ids ``[M, T]`` draws other words instead,
    those of another text at the same position. Strings come by ``whence.features.Texts``. The other fields: see
    AnchorImage and AnchorTabular.

    Source: Ribeiro, Singh and Guestrin 2018, doi 10.1609/aaai.v32i1.11491.
    """

    name: ClassVar[str] = "anchor_text"
