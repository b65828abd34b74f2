"""Is a layer on the way from the input to the model's output at all? Asked where every gradient towards it is zero."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from whence.core import engine
from whence.core.errors import LayerError
from whence.core.ops import Ops, Tensor
from whence.core.scores import Score
from whence.core.target import Target

if TYPE_CHECKING:
    from whence.core.context import Context


class _Everything(Score):
    """A number that changes with any entry of the outputs."""

    def per_sample(self, batch: int) -> np.ndarray:
        return np.zeros((batch, 1), np.int64)

    def score(self, ops: Ops, outputs: Tensor, known: Tensor) -> Tensor:
        axes = tuple(range(1, len(ops.shape(outputs))))
        return ops.sum(outputs + outputs**2, axis=axes) if axes else outputs


EVERYTHING = _Everything()


def require_dependence(ctx: Context, layer: str) -> None:
    """Raise LayerError where nothing of the output changes without what the layer gives, in any sample.

    A score whose gradient alone is zero, a saturated one say, passes: that is a property of the sample.
    """
    at_layer = ctx.at_layer(layer)
    everything = Target.parse(EVERYTHING, ctx.batch)
    whole = replace(at_layer, given_target=everything)
    shares = np.array([1.0, 0.0])
    scores = engine.scores_over_variants(whole, engine.scaled, samples=(whole.x,), draws=(shares,), count=2)
    kept, gone = ctx.ops.to_numpy(scores)
    if np.array_equal(kept, gone):
        raise LayerError(
            f"gradients of the score towards layer {layer!r}",
            received="zero everywhere: the target does not depend on what this layer gives",
            valid="a layer on the way from the input to the target",
        )
