"""What a method computes with: the values to attribute, their scores, gradients along points, seeded draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from einops import repeat

from whence.core import engine
from whence.core.batching import choose_rows
from whence.core.layout import Layout
from whence.core.model import Model
from whence.core.ops import Ops, Tensor
from whence.core.passes import Passes
from whence.core.place import Place
from whence.core.rule import RuleSet
from whence.core.sampling import Fill, draw, place_of, repetition
from whence.core.target import Target

Leaves = tuple[Tensor, ...]


@dataclass
class Work:
    """What one explanation has spent so far, and how it reports progress. Shared by derived contexts."""

    forward_rows: int = 0
    backward_rows: int = 0
    rows: int | None = None
    """Most model rows per call, from the user or after memory ran out; None for what the budget allows."""
    fixed_rows: bool = False
    advance: Callable[[int], None] = field(default=lambda _: None)
    expect: Callable[[int], None] = field(default=lambda _: None)
    score_dtype: str | None = None
    """In which the model gave the scores that were last taken to the host."""
    ruled: Model | None = None
    """The model under backward rules, for its coverage."""
    passes: Passes | None = None
    """Where targets explained together find each other's passes."""


@dataclass(frozen=True)
class Context:
    """One model, one batch, one target, at one place.

    ``x`` holds the values to attribute, one ``[B, ...]`` tensor per attributed input, or the layer's activation.
    ``inputs`` are all inputs as given. ``sample_ids[B]`` keys random draws, so that they follow the sample.
    """

    model: Model
    place: Place
    inputs: Leaves
    x: Leaves
    given_target: Target
    sample_ids: tuple[int, ...]
    work: Work

    @property
    def ops(self) -> Ops:
        return self.model.ops

    @property
    def batch(self) -> int:
        return len(self.sample_ids)

    @cached_property
    def positions(self) -> tuple[int, ...]:
        """Where each sample stands in the user's batch, repetitions in the place of what they repeat."""
        return tuple(place_of(key) for key in self.sample_ids)

    def layout(self, leaf: int = 0) -> Layout:
        """The axis order of ``x[leaf]``."""
        return self.model.layout(len(self.ops.shape(self.x[leaf])))

    def rows(self, *, gradient: bool) -> int:
        """Model rows of one call."""
        if self.work.fixed_rows and self.work.rows is not None:
            return self.work.rows
        # compilers drop the network before the layer by themselves
        alone = self.place.one_prefix or (self.place.layer is not None and self.ops.static_shapes)
        held = () if alone else self.inputs
        row = sum(prod(self.ops.shape(x)[1:]) * 4 for x in (*held, *self.x))
        free = self.ops.free_memory(self.inputs[0])
        # a chunk that begins with one row for the network before the layer is worth it with many rows only
        forward_rows = self.ops.forward_rows * (4 if self.place.one_prefix else 1)
        chosen = choose_rows(row, free, gradient=gradient, chunk_bytes=self.ops.chunk_bytes, forward_rows=forward_rows)
        return chosen if self.work.rows is None else min(chosen, self.work.rows)

    # -- scores ------------------------------------------------------------------------------------------
    @cached_property
    def _scored(self) -> tuple[Tensor, Target]:
        return engine.score_and_target(self)

    @property
    def score(self) -> Tensor:
        """The explained score of each sample at ``x``, ``[B]``."""
        return self._scored[0]

    @property
    def target(self) -> Target:
        """The target, settled to an index per sample where the predicted class was asked for."""
        return self.given_target if self.given_target.key != "predicted" else self._scored[1]

    @property
    def unscored(self) -> bool:
        """Whether the score at ``x`` has not come out of any pass yet, for a target that does not depend on it."""
        return "_scored" not in self.__dict__ and self.given_target.key != "predicted"

    def settle(self, score: Tensor, target: Target) -> None:
        """Remember a score at ``x`` that came out of another pass, so that it is not computed again."""
        self.__dict__["_scored"] = (score, target)

    def score_of(self, points: Leaves) -> Tensor:
        """Scores ``[B]`` with ``points`` in the place of ``x``; that at ``x`` comes with them where it is not known."""
        if not self.unscored:
            return engine.scores_over_variants(self, engine.identity, samples=(points,), draws=(), count=1)[0]
        itself, point = np.array([True, False]), engine.Either(self.ops)
        scores = engine.scores_over_variants(self, point, samples=(self.x, points), draws=(itself,), count=2)
        self.settle(scores[0], self.given_target)
        return scores[1]

    def under(self, rules: RuleSet) -> Context:
        """The same computation with the derivatives of a rule set; its coverage goes into the provenance."""
        self.work.ruled = self.model.intercept(rules)
        return replace(self, model=self.work.ruled)

    # -- other places of the same computation --------------------------------------------------------------
    def at_layer(self, layer: str, activation: Tensor | None = None) -> Context:
        """The rest of the network as a function of a layer's output, whose value may be known."""
        x = self.activations(self.inputs, [layer]) if activation is None else [activation]
        return replace(self, place=replace(self.place, leaves=(), layer=layer), x=tuple(x))

    def at_input(self, leaf: int) -> Context:
        """The score as a function of one of the attributed inputs, the others held fixed."""
        place = replace(self.place, leaves=(self.place.leaves[leaf],))
        return replace(self, place=place, x=(self.x[leaf],), given_target=self.target)

    def moved(self, points: Leaves) -> Context:
        """The same with ``points`` in the place of ``x``, for the same targets."""
        return replace(self, x=points, given_target=self.target)

    def repeated(self, points: Leaves, draws: Sequence[int]) -> Context:
        """The context of ``len(draws)`` versions of each sample, ``points`` being ``[(draws B), ...]``."""
        k, attributed = len(draws), self.place.leaves
        # an attributed input is not needed besides the points that are its versions
        inputs = tuple(
            points[attributed.index(i)] if i in attributed else repeat(leaf, "b ... -> (k b) ...", k=k)
            for i, leaf in enumerate(self.inputs)
        )
        return replace(
            self,
            inputs=inputs,
            x=points,
            given_target=self.target.taken(np.tile(np.arange(self.batch), k)),
            sample_ids=tuple(repetition(i, d) for d in draws for i in self.sample_ids),
        )

    def taken(self, rows: Sequence[int]) -> Context:
        """The context of the samples at these positions, repetitions allowed."""
        where = self.ops.asarray(np.asarray(rows, np.int64), like=self.inputs[0])
        return replace(
            self,
            inputs=tuple(self.ops.take(leaf, where) for leaf in self.inputs),
            x=tuple(self.ops.take(leaf, where) for leaf in self.x),
            given_target=self.target.taken(list(rows)),
            sample_ids=tuple(self.sample_ids[i] for i in rows),
        )

    def activations(self, inputs: Leaves, layers: Sequence[str]) -> list[Tensor]:
        """The outputs of layers for these inputs, from one forward pass."""
        if self.work.passes is None:
            return engine.activations(self, inputs, layers)
        found: list[Tensor] = self.work.passes.next(
            ("activations", self.sample_ids, *layers), lambda: engine.activations(self, inputs, layers)
        )
        return found

    # -- random draws ----------------------------------------------------------------------------------------
    def draw(
        self, fill: Fill, *, seed: int, stream: str, draws: Sequence[int], samples: slice, leaf: int | None = None
    ) -> np.ndarray:
        """Host values ``[k, b, ...]`` shaped like ``x[leaf]``, or ``[k, b]`` where no leaf is named."""
        shape: tuple[int, ...] = ()
        channel = None
        if leaf is not None:
            shape, axis = self.ops.shape(self.x[leaf])[1:], self.layout(leaf).channel
            channel = None if axis is None else axis - 1
        return draw(
            fill,
            shape,
            seed=seed,
            stream=f"{stream}/{leaf}",
            samples=self.sample_ids[samples],
            draws=draws,
            channel_axis=channel,
            dtype=self.ops.dtype(self.x[leaf or 0]),
        )

    def like(self, values: Any, leaf: int = 0) -> Tensor:
        """Host numbers as a native tensor on the device of ``x[leaf]``, and of its dtype where both are floating-point.

        Beside inputs of whole numbers, floating-point numbers are float32.
        """
        return self.ops.asarray(values, **self._kind(values, leaf))

    def argument(self, values: np.ndarray, leaf: int = 0) -> Tensor | np.ndarray:
        """``like`` for compiled code, which takes some arrays from the host itself."""
        return self.ops.argument(values, **self._kind(values, leaf))

    def _kind(self, values: Any, leaf: int) -> dict[str, Any]:
        like = self.x[leaf] if self.x else self.inputs[0]
        narrow = not self.ops.is_floating(like) and np.asarray(values).dtype.kind == "f"
        return {"like": like, "dtype": "float32" if narrow else None}
