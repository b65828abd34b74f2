"""Backward rules as formulas: (ops, op, cotangents) -> cotangents of the operation's inputs.

g is the cotangent of the operation's output; ``op.vjp`` is its plain derivative.
"""

from __future__ import annotations

from collections.abc import Sequence

from whence.core.ops import Ops, Tensor
from whence.core.rule import OpCall, RuleSet, kind_is


def guided(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """max(g, 0) where the unit was active (Springenberg et al. 2014)."""
    (y,), (g,) = op.outputs, cotangents
    # the sign of y, which is 0 or more, says whether the unit was active; a choice takes many times as long
    passed = ops.sign(y) * ops.clip(g, min=0.0)
    return tuple(passed if i in op.data else None for i in range(len(op.inputs)))


def deconvnet(ops: Ops, op: OpCall, cotangents: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """max(g, 0), whether or not the unit was active (Zeiler and Fergus 2014)."""
    (g,) = cotangents
    positive = ops.clip(g, min=0.0)
    return tuple(positive if i in op.data else None for i in range(len(op.inputs)))


GUIDED_RELU = RuleSet("guided_relu", ((kind_is("relu"), guided),))
"""Guided backprop: arXiv 1412.6806, section 3.4."""
DECONVNET_RELU = RuleSet("deconvnet_relu", ((kind_is("relu"), deconvnet),))
"""Deconvnet: arXiv 1311.2901, section 2.1."""
