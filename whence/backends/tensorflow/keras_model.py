"""Keras 3 models on Keras' TensorFlow backend: sequential, functional, subclassed, nested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from whence.backends.keras_layers import (
    before_activation,
    layer_calls,
    layer_names,
    layout_of,
    require_dtype,
    takes_separately,
)
from whence.backends.tensorflow.model import TensorflowModel
from whence.backends.tensorflow.patches import untraced
from whence.core.layers import LayerCalls
from whence.core.ops import Tensor


class KerasModel(TensorflowModel):
    """A Keras model in inference mode; layers are Keras' own, nested ones as paths.

    A tuple, list or dict of inputs becomes the arguments of ``call`` where that names them, and is otherwise passed
    as one structure, as functional models with several inputs expect it.
    """

    @property
    def default_layout(self) -> str | None:  # type: ignore[override]
        return layout_of(self.target)

    def layers(self) -> tuple[str, ...]:
        return layer_names(self.target)

    def before_activation(self, layer: str) -> str:
        return before_activation(self.target, layer)

    @contextmanager
    def _listening(self, calls: LayerCalls) -> Iterator[None]:
        if not calls.wanted:
            yield
            return
        classes = {type(layer) for layer in self.target._flatten_layers()}
        with untraced(classes, "call"), layer_calls(self.target, calls, tf.autograph.experimental.do_not_convert):
            yield

    def _call(self, inputs: Any) -> Tensor:
        args, kwargs = self._arguments(inputs)
        return self._select_output(self.target(*args, **{"training": False, **kwargs}))

    def _arguments(self, inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self.options.unpack is None and isinstance(inputs, (tuple, list, dict)):
            return self.with_options(unpack=takes_separately(self.target, inputs))._arguments(inputs)
        return super()._arguments(inputs)

    def check(self, names: Sequence[str], leaves: Sequence[Tensor]) -> None:
        if self.options.preprocess is None:
            require_dtype(self.target, self.ops, names, leaves)

    def variables(self) -> Sequence[tf.Variable]:
        return [v.value for v in self.target.variables if isinstance(v.value, tf.Variable)]
