"""PyTorch: any ``nn.Module`` (scripted and compiled ones too) and plain functions on tensors."""

from __future__ import annotations

import sys
from typing import Any

import torch

from whence.backends.keras_layers import is_keras
from whence.backends.torch.model import FunctionModel, ModuleModel
from whence.backends.torch.ops import TorchOps, ops
from whence.core.backend import Backend
from whence.core.model import Model, Options


class TorchBackend(Backend):
    """PyTorch >= 2.4."""

    name = "torch"
    framework = "torch"
    ops: TorchOps = ops

    def adapts(self, target: Any) -> bool:
        return isinstance(target, torch.nn.Module)

    def adapt(self, target: Any, options: Options | None) -> Model:
        if not isinstance(target, torch.nn.Module):
            return FunctionModel(target, options)
        if is_keras(target):
            from whence.backends.torch.keras_model import KerasModel

            return KerasModel(target, options)
        return ModuleModel(target, options)

    def versions(self) -> dict[str, str]:
        keras = sys.modules.get("keras")
        return {"torch": torch.__version__, **({"keras": keras.__version__} if keras else {})}


backend = TorchBackend()
