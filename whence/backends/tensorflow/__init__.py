"""TensorFlow: Keras models on TensorFlow, ``tf.Module``, ``tf.function``, SavedModels, functions on its tensors."""

from __future__ import annotations

import sys
from typing import Any

import tensorflow as tf

from whence.backends.keras_layers import is_keras
from whence.backends.tensorflow.model import FUNCTIONS, FunctionModel, is_loaded
from whence.backends.tensorflow.module import ModuleModel
from whence.backends.tensorflow.ops import TensorflowOps, ops
from whence.core.backend import Backend
from whence.core.model import Model, Options


class TensorflowBackend(Backend):
    """TensorFlow >= 2.16, Keras 3."""

    name = "tensorflow"
    framework = "tensorflow"
    ops: TensorflowOps = ops

    def adapts(self, target: Any) -> bool:
        if is_keras(target):
            # a Keras model belongs to the framework that Keras runs on
            return bool(sys.modules["keras"].backend.backend() == "tensorflow")
        return isinstance(target, (tf.Module, *FUNCTIONS)) or is_loaded(target)

    def adapt(self, target: Any, options: Options | None) -> Model:
        if is_keras(target):
            from whence.backends.tensorflow.keras_model import KerasModel

            return KerasModel(target, options)
        return (ModuleModel if isinstance(target, tf.Module) else FunctionModel)(target, options)

    def versions(self) -> dict[str, str]:
        keras = sys.modules.get("keras")
        return {"tensorflow": tf.__version__, **({"keras": keras.__version__} if keras else {})}


backend = TensorflowBackend()
