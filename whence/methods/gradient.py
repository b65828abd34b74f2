"""The plain gradient and its product with the input.

Saliency: df/dx (Simonyan, Vedaldi and Zisserman 2013, arXiv 1312.6034, section 3); signed, no absolute value.
InputXGradient: x df/dx (Shrikumar et al. 2016, arXiv 1605.01713).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from whence.core.context import Context
from whence.core.engine import grad_over_points, identity
from whence.core.method import Attribution, Method
from whence.core.ops import Tensor


@dataclass(frozen=True, kw_only=True, repr=False)
class Saliency(Method):
    """The gradient of the score with respect to the input, ``[B, ...]``, in units of score per unit of input.

    Source: Simonyan, Vedaldi and Zisserman 2013, arXiv 1312.6034. Signed: take the absolute value yourself.
    """

    name: ClassVar[str] = "saliency"

    def compute(self, ctx: Context) -> Attribution:
        return Attribution(grad_over_points(ctx, identity, samples=(ctx.x,), draws=(), count=1).total)


def input_times(gradient: Tensor, x: Tensor) -> Tensor:
    """x df/dx."""
    return x * gradient


@dataclass(frozen=True, kw_only=True, repr=False)
class InputXGradient(Method):
    """The input times the gradient of the score, ``[B, ...]``, in units of score.

    Source: Shrikumar et al. 2016, arXiv 1605.01713. On a linear model it is each feature's share of the score.
    """

    name: ClassVar[str] = "input_x_gradient"

    def compute(self, ctx: Context) -> Attribution:
        return Attribution(grad_over_points(ctx, identity, samples=(ctx.x,), draws=(), count=1, term=input_times).total)
