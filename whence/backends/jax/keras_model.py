"""Keras models whose runtime is JAX: their variables are arguments, layers are Keras' own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from whence.backends import keras_layers
from whence.backends.jax.model import Args, JaxModel, Kwargs
from whence.backends.jax.static import Static
from whence.core.layers import LayerCalls
from whence.core.ops import Tensor


class KerasModel(JaxModel):
    """A Keras model or layer; nested layers have paths such as ``"block/conv"``."""

    @property
    def default_layout(self) -> str | None:  # type: ignore[override]
        return keras_layers.layout_of(self.target)

    def layers(self) -> tuple[str, ...]:
        return keras_layers.layer_names(self.target)

    def before_activation(self, layer: str) -> str:
        return keras_layers.before_activation(self.target, layer)

    def check(self, names: Sequence[str], leaves: Sequence[Tensor]) -> None:
        if self.options.preprocess is None:
            keras_layers.require_dtype(self.target, self.ops, names, leaves)

    def read_state(self) -> tuple[Static, Any]:
        return Static(None), [v.value for v in self.target.variables]

    def call(self, static: Static, arrays: Any, args: Args, kwargs: Kwargs, calls: LayerCalls) -> Any:
        import keras

        given = list(zip(self.target.variables, arrays, strict=True))
        with keras.StatelessScope(state_mapping=given), keras_layers.layer_calls(self.target, calls):
            return self.target(*args, **{"training": False, **kwargs})

    def _arguments(self, inputs: Any) -> tuple[Args, Kwargs]:
        if self.options.unpack is None and isinstance(inputs, (tuple, list, dict)):
            separately = keras_layers.takes_separately(self.target, inputs)
            return self.with_options(unpack=separately)._arguments(inputs)
        return super()._arguments(inputs)
