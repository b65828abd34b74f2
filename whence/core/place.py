"""Where attributions live, at the inputs or at a layer, and what is explained, the output or one neuron."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whence.core.errors import LayerError
from whence.core.layers import Put
from whence.core.model import Edit, Run
from whence.core.ops import Ops, Tensor
from whence.core.rule import Reference
from whence.core.tree import Structure

Neuron = tuple[str, int | tuple[int, ...]]


@dataclass(frozen=True)
class Place:
    """A method at a layer is the same method applied to the rest of the network, a function of that layer's output."""

    structure: Structure
    leaves: tuple[int, ...]
    """The floating-point inputs, which are attributed where no layer is named; the others are held fixed."""
    layer: str | None = None
    neuron: Neuron | None = None
    one_prefix: bool = False
    """Whether a single row is run up to a layer where it becomes many, all of one sample."""

    def output(
        self, ops: Ops, run: Run, inputs: Sequence[Tensor], points: Sequence[Tensor],
        edits: Mapping[str, Edit] | None = None, reference: Sequence[Tensor] | None = None,
    ) -> Any:  # fmt: skip
        """The model's output, or the neuron's activation, with ``points`` put at this place and other layers edited.

        With a ``reference`` for a model that takes one, a pair: the output, and that with the reference at this place.
        """
        values, edited = self._put(inputs, points)
        beside = {} if reference is None else {"reference": Reference(*self._put(inputs, reference))}
        taps = [self.neuron[0]] if self.neuron else []
        output, tapped = run(values, edits={**(edits or {}), **edited} or None, taps=taps, **beside)
        if self.neuron is None:
            return output
        at = tapped[self.neuron[0]]
        return _neuron(ops, at, self.neuron) if reference is None else tuple(_neuron(ops, a, self.neuron) for a in at)

    def _put(self, inputs: Sequence[Tensor], points: Sequence[Tensor]) -> tuple[Any, dict[str, Edit]]:
        """Inputs in the user's structure, and edits, that have ``points`` at this place."""
        if self.layer is not None:
            return self.structure.unflatten(list(inputs)), {self.layer: Put(points[0])}
        values = list(inputs)
        for leaf, point in zip(self.leaves, points, strict=True):
            values[leaf] = point
        return self.structure.unflatten(values), {}

    def fixed(self, inputs: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
        """The inputs that ``output`` needs besides the points: None where a point takes the place."""
        if self.layer is not None:
            return tuple(inputs)
        return tuple(None if i in self.leaves else leaf for i, leaf in enumerate(inputs))


def _neuron(ops: Ops, activation: Tensor, neuron: Neuron) -> Tensor:
    name, index = neuron
    index = index if isinstance(index, tuple) else (index,)
    sizes = ops.shape(activation)[1:]
    if len(index) != len(sizes) or any(not 0 <= i < size for i, size in zip(index, sizes, strict=True)):
        raise LayerError(
            f"neuron {index} of layer {name!r}",
            received=f"activations of shape [B, {str(sizes)[1:-1]}]",
            valid=f"{len(sizes)} indices below {sizes}",
        )
    return activation[(slice(None), *index)]
