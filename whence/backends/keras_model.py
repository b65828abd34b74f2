"""A Keras model on any of its runtimes: what their adapters share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from whence.backends import keras_layers
from whence.core.model import Model
from whence.core.ops import Tensor


class KerasAdapter(Model):
    """A Keras model in inference mode, which Keras is told in the call; layers are Keras' own, nested ones as paths.

    A tuple, list or dict of inputs becomes the arguments of ``call`` where that names them, and is otherwise passed
    as one structure, as functional models with several inputs expect it.
    """

    @property
    def default_layout(self) -> str | None:  # type: ignore[override]
        return keras_layers.layout_of(self.target)

    def layers(self) -> tuple[str, ...]:
        return keras_layers.layer_names(self.target)

    def before_activation(self, layer: str) -> str:
        return keras_layers.before_activation(self.target, layer)

    def check(self, names: Sequence[str], leaves: Sequence[Tensor]) -> None:
        fine: set[tuple[str, ...]] = self.store.get("dtypes that fit", set)
        dtypes = tuple(map(self.ops.dtype, leaves))
        if self.options.preprocess is None and dtypes not in fine:
            keras_layers.require_dtype(self.target, self.ops, names, leaves)
            fine.add(dtypes)

    def _arguments(self, inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self.options.unpack is None and isinstance(inputs, (tuple, list, dict)):
            separately = keras_layers.takes_separately(self.target, inputs)
            return self.with_options(unpack=separately)._arguments(inputs)
        args, kwargs = super()._arguments(inputs)
        return args, {"training": False, **kwargs}
