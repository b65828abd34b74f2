"""Keras models whose runtime is JAX: their variables are arguments."""

from __future__ import annotations

from typing import Any

from whence.backends.jax.model import Args, JaxModel, Kwargs
from whence.backends.jax.static import Static
from whence.backends.keras_layers import layer_calls
from whence.backends.keras_model import KerasAdapter
from whence.core.layers import LayerCalls


class KerasModel(KerasAdapter, JaxModel):
    """A Keras model or layer."""

    def read_state(self) -> tuple[Static, Any]:
        return Static(None), [v.value for v in self.target.variables]

    def call(self, static: Static, arrays: Any, args: Args, kwargs: Kwargs, calls: LayerCalls) -> Any:
        import keras

        given = list(zip(self.target.variables, arrays, strict=True))
        with keras.StatelessScope(state_mapping=given), layer_calls(self.target, calls):
            return self.target(*args, **kwargs)
