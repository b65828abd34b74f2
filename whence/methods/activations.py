"""What layers give: the outputs, or inputs, of any named layers from one forward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar

from whence.core.context import Context
from whence.core.errors import LayerError, ParameterError
from whence.core.method import Attribution, Method
from whence.core.ops import Ops, Tensor
from whence.core.tree import Structure

VALID = "None, a channel, a list of channels, or a tuple that is the index of one unit"


@dataclass(frozen=True, kw_only=True, repr=False)
class Activations(Method):
    """The activations ``[B, ...]`` of named layers, a dict by name, in the layers' own units; one forward pass for all.

    ``layers``: a name, several names, or names with what to take of each: an int for a channel, a list of ints for
    channels, a tuple for one unit, ``{"conv2": [0, 5], "fc": (3,), "relu:1": None}``. ``"conv2:in"`` is a layer's
    input, ``"relu:1"`` the second call of a reused layer. Channels are found by the model's layout; where a layer has
    none, its last axis counts. Raises LayerError for names and indices that do not exist.
    Source: Zeiler and Fergus 2013, arXiv 1311.2901, section 4.
    """

    name: ClassVar[str] = "activations"
    needs_gradient: ClassVar[bool] = False
    needs_layers: ClassVar[bool] = True
    moves_to_layer: ClassVar[bool] = False
    explains_score: ClassVar[bool] = False
    view: ClassVar[str] = "activations"

    layers: Any = ()

    def __post_init__(self) -> None:
        for value in self._units().values():
            several = isinstance(value, (list, tuple)) and bool(value)
            if value is not None and not all(isinstance(i, Integral) for i in (value if several else [value])):
                raise ParameterError("layers", received=repr(self.layers), valid=f"names of layers, each with {VALID}")
        if not self._units():
            raise ParameterError("layers", received=repr(self.layers), valid="at least one name of a layer")
        if self.layer is not None:
            raise ParameterError("layer", received=repr(self.layer), valid=f"layers=[{self.layer!r}] for {self.name}")

    def compute(self, ctx: Context) -> Attribution:
        units = self._units()
        found = ctx.activations(ctx.inputs, tuple(units))
        values = tuple(self._taken(ctx, x, name, units[name]) for x, name in zip(found, units, strict=True))
        return Attribution(values, structure=Structure(dict, tuple(units)))

    def _units(self) -> dict[str, Any]:
        if isinstance(self.layers, Mapping):
            return dict(self.layers)
        names: Sequence[str] = (self.layers,) if isinstance(self.layers, str) else tuple(self.layers or ())
        if not all(isinstance(name, str) for name in names):
            raise ParameterError("layers", received=repr(self.layers), valid="names of layers")
        return dict.fromkeys(names)

    def _taken(self, ctx: Context, x: Tensor, name: str, units: Any) -> Tensor:
        ops, shape = ctx.ops, ctx.ops.shape(x)
        if units is None:
            return x
        if isinstance(units, tuple):
            _require_index(name, units, shape[1:], shape)
            return x[(slice(None), *map(int, units))]
        axis = ctx.model.layout(len(shape)).channel or len(shape) - 1
        channels = [int(units)] if isinstance(units, Integral) else [int(c) for c in units]
        for channel in channels:
            _require_index(name, (channel,), (shape[axis],), shape)
        return _channels(ops, x, channels, axis)


def _channels(ops: Ops, x: Tensor, channels: Sequence[int], axis: int) -> Tensor:
    parts = [x[(*(slice(None),) * axis, slice(c, c + 1))] for c in channels]
    return parts[0] if len(parts) == 1 else ops.concat(parts, axis=axis)


def _require_index(name: str, index: Sequence[int], sizes: Sequence[int], shape: Sequence[int]) -> None:
    if len(index) != len(sizes) or any(not 0 <= i < size for i, size in zip(index, sizes, strict=True)):
        raise LayerError(
            f"index {tuple(index)} of layer {name!r}",
            received=f"activations of shape [B, {str(tuple(shape[1:]))[1:-1]}]",
            valid=f"{len(sizes)} indices below {tuple(sizes)}",
        )
