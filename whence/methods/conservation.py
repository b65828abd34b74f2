"""The relevance that arrives at each layer, for methods that hand it back by rules: ``explanation.conservation()``.

At every layer the sum over units of value times derivative under the rules; of a difference from a reference, for
DeepLIFT. All of it comes from one pass forward and back.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from whence.core.conservation import Conservation, Conserve
from whence.core.context import Context, Leaves
from whence.core.inside import layer_shapes
from whence.core.method import Attribution, Method
from whence.core.ops import Ops


@dataclass(frozen=True)
class Relevance:
    """Relevance at layers, None where nothing arrives, at the inputs, and the score that it is of, ``[B]``."""

    layers: Sequence[np.ndarray | None]
    inputs: Leaves
    score: np.ndarray


@dataclass(frozen=True, kw_only=True, repr=False)
class Conserving(Method):
    """Base of methods that can say where relevance is lost."""

    @abstractmethod
    def relevance(self, ctx: Context, layers: Sequence[str]) -> Relevance:
        """What arrives at the layers."""

    def _conserve(self, model: Any, inputs: Any, target: Any) -> Conserve:
        def per_layer(layers: tuple[str, ...] | None, batch_size: int | None) -> Conservation:
            asked = _PerLayer(of=self, names=layers, layer=self.layer, neuron=self.neuron)
            notes = asked.explain(model, inputs, target, batch_size=batch_size).provenance.notes
            return Conservation(self.name, notes["score"], notes["layers"], notes["inputs"])

        return per_layer


@dataclass(frozen=True, kw_only=True, repr=False)
class _PerLayer(Method):
    name: ClassVar[str] = "conservation"

    of: Conserving
    names: tuple[str, ...] | None = None

    def compute(self, ctx: Context) -> Attribution:
        names = tuple(layer_shapes(ctx)) if self.names is None else self.names
        if ctx.place.layer is not None:
            # the layer that is attributed stands for the inputs, and what ran before it has no part in this
            order = list(layer_shapes(ctx, (*names, ctx.place.layer)))
            before = order[: order.index(ctx.place.layer) + 1]
            names = tuple(name for name in names if name not in before)
        found = self.of.relevance(ctx, names)
        layers = {name: sums for name, sums in zip(names, found.layers, strict=True) if sums is not None}
        inputs = np.sum([sums(ctx.ops, r) for r in found.inputs], axis=0)
        return Attribution(found.inputs, notes={"layers": layers, "inputs": inputs, "score": found.score})


def sums(ops: Ops, relevance: Any) -> np.ndarray:
    """The sum of each sample ``[B]``, in float64."""
    values = ops.to_numpy(relevance).astype(np.float64)
    total: np.ndarray = values.reshape(len(values), -1).sum(axis=1)
    return total


def arrives(ops: Ops, derivative: Any) -> bool:
    """Whether any relevance comes to a layer."""
    return bool(np.any(ops.to_numpy(derivative)))
