"""Sequences of tokens as maps: which tokens stand on a grid of the image, and in what shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from numbers import Integral

from einops import rearrange

from whence.core.errors import LayerError, ParameterError
from whence.core.ops import Ops, Tensor

LEADING = (0, 1, 2)
"""Numbers of leading tokens tried where none is given: none, a class token, a class and a distillation token."""


@dataclass(frozen=True, kw_only=True)
class TokenGrid:
    """How the tokens ``[B, T, C]`` of a transformer's layer stand on a map.

    ``class_tokens``: leading tokens that are not on the map, such as a class token; found from T if None. ``grid``: the
    map's shape, ``(14, 14)`` say, or ``(T,)`` for text; found from T and the image's aspect ratio if None. A layer that
    gives ``[B, H, W, C]``, as those of a Swin transformer do, is on its grid already, channels last.
    """

    class_tokens: int | None = None
    grid: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        given = self.class_tokens
        if given is not None and (not isinstance(given, Integral) or isinstance(given, bool) or given < 0):
            raise ParameterError("class_tokens", received=repr(given), valid="an int >= 0, or None")
        sizes = self.grid or ()
        if self.grid is not None and (not sizes or any(not isinstance(n, Integral) or n < 1 for n in sizes)):
            raise ParameterError("grid", received=repr(self.grid), valid="a tuple of ints >= 1, or None")

    def fits(self, shape: Sequence[int], image: Sequence[int]) -> bool:
        """Whether a layer's output of this shape, without batch axis, can stand on the grid."""
        return len(shape) > 2 or (len(shape) == 2 and bool(self._choices(shape[0], image)))

    def on_grid(self, ops: Ops, x: Tensor, layer: str, image: Sequence[int]) -> Tensor:
        """``[B, *grid, C]`` of a layer's output; ``image`` is the shape of the image's spatial axes, empty for text."""
        shape = ops.shape(x)
        if len(shape) > 3:
            return x
        choices = self._choices(shape[1], image) if len(shape) == 3 else []
        if len(choices) != 1:
            likely = f"; for this image one of {[c for c, _ in choices]} as class_tokens" if choices else ""
            raise LayerError(
                f"layer {layer!r} as tokens",
                received=f"shape [B, {str(shape[1:])[1:-1]}]",
                valid=f"[B, T, C] with T = class_tokens + the number of places of a grid like the image's {likely}; "
                "say them with whence.TokenGrid(class_tokens=..., grid=...)",
            )
        ((skipped, grid),) = choices
        names = [f"g{i}" for i in range(len(grid))]
        sizes = dict(zip(names, grid, strict=True))
        found: Tensor = rearrange(x[:, skipped:], f"b ({' '.join(names)}) c -> b {' '.join(names)} c", **sizes)
        return found

    def _choices(self, tokens: int, image: Sequence[int]) -> list[tuple[int, tuple[int, ...]]]:
        """Pairs of (leading tokens, grid) that make up this number of tokens."""
        leading = (self.class_tokens,) if self.class_tokens is not None else LEADING if image else (0,)
        if self.grid is not None:
            skipped = tokens - prod(self.grid)
            return [(skipped, self.grid)] if skipped >= 0 and self.class_tokens in (None, skipped) else []
        return [(n, grid) for n in leading if (grid := _like(tokens - n, image)) is not None]


def _like(places: int, image: Sequence[int]) -> tuple[int, ...] | None:
    """The grid of so many places with the aspect ratio of the image."""
    if places < 1 or len(image) not in (0, 2):
        return None
    if not image:
        return (places,)
    height, width = image
    rows = round((places * height / width) ** 0.5)
    return (rows, places // rows) if rows and places % rows == 0 and rows * width == places // rows * height else None
