"""Constants behind an affine operation that belong to it: a bias, a scale, batch normalisation in inference.

z is followed by steps such as z - mean, z / deviation, z * factor, z + offset, whichever way a framework spells them;
together they make z S + T.
"""

from __future__ import annotations

from collections.abc import Sequence

from whence.core.ops import Tensor

STEPS = ("add", "sub", "mul", "div")


def scale_and_bias(steps: Sequence[tuple[str, Tensor]], bias: Tensor | None = None) -> tuple[Tensor | None, Tensor]:
    """S and T of ``(z + bias)`` taken through the steps in order, S being None where nothing scales."""
    scale: Tensor | None = None
    for name, constant in steps:
        match name:
            case "add":
                bias = constant if bias is None else bias + constant
            case "sub":
                bias = -constant if bias is None else bias - constant
            case "mul":
                scale = constant if scale is None else scale * constant
                bias = None if bias is None else bias * constant
            case "div":
                scale = 1 / constant if scale is None else scale / constant
                bias = None if bias is None else bias / constant
    # a scale without a bias still has one, of zero
    return scale, 0 * steps[-1][1] if bias is None else bias
