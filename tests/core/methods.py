"""A method for black boxes, written as a third party would: the engine's loop without any gradient."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from whence.core.context import Context
from whence.core.engine import scores_over_variants
from whence.core.method import Attribution, Method
from whence.core.ops import Tensor
from whence.core.validation import positive_int


def kept(x: Tensor, keep: Tensor) -> Tensor:
    """The sample with some features set to zero."""
    return x * keep


@dataclass(frozen=True, kw_only=True, repr=False)
class Ablation(Method):
    """f(x) - f(x with one feature at zero), ``[B, ...]``."""

    name: ClassVar[str] = "plain_ablation"
    needs_gradient: ClassVar[bool] = False

    repeats: int = 1

    def __post_init__(self) -> None:
        positive_int("repeats", self.repeats)

    def compute(self, ctx: Context) -> Attribution:
        ops, shapes = ctx.ops, [ctx.ops.shape(x)[1:] for x in ctx.x]
        sizes = [prod(shape) for shape in shapes]

        def masks(points: range, samples: slice) -> tuple[np.ndarray, ...]:
            found = np.ones((len(points), len(ctx.sample_ids[samples]), sum(sizes)))
            found[np.arange(len(points)), :, list(points)] = 0
            parts = np.split(found, np.cumsum(sizes)[:-1], axis=2)
            return tuple(p.reshape(*p.shape[:2], *shape) for p, shape in zip(parts, shapes, strict=True))

        scores = scores_over_variants(ctx, kept, samples=(ctx.x,), draws=(masks,), count=sum(sizes))
        drops: Any = (ctx.score[None] - scores).T
        ends = np.cumsum([0, *sizes])
        values = [drops[:, a:b].reshape(ctx.batch, *shape) for a, b, shape in zip(ends, ends[1:], shapes, strict=False)]
        return Attribution(tuple(ops.asarray(v, like=x) for v, x in zip(values, ctx.x, strict=True)))
