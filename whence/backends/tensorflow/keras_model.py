"""Keras 3 models on Keras' TensorFlow backend: sequential, functional, subclassed, nested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from whence.backends.keras_layers import layer_calls
from whence.backends.keras_model import KerasAdapter
from whence.backends.tensorflow.model import TensorflowModel
from whence.backends.tensorflow.patches import untraced
from whence.core.layers import LayerCalls
from whence.core.ops import Tensor


class KerasModel(KerasAdapter, TensorflowModel):
    """A Keras model with its variables."""

    @contextmanager
    def _listening(self, calls: LayerCalls) -> Iterator[None]:
        if not calls.layers:
            yield
            return
        classes = {type(layer) for layer in self.target._flatten_layers()}
        with untraced(classes, "call"), layer_calls(self.target, calls, tf.autograph.experimental.do_not_convert):
            yield

    def _call(self, inputs: Any) -> Tensor:
        args, kwargs = self._arguments(inputs)
        return self._select_output(self.target(*args, **kwargs))

    def variables(self) -> Sequence[tf.Variable]:
        return [v.value for v in self.target.variables if isinstance(v.value, tf.Variable)]
