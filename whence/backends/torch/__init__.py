"""PyTorch: any ``nn.Module`` (scripted and compiled ones too) and plain functions on tensors."""

from __future__ import annotations

from typing import Any

import torch

from whence.backends.torch.model import FunctionModel, KerasModel, ModuleModel
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
        keras = any(base.__module__.startswith("keras.") for base in type(target).__mro__)
        return (KerasModel if keras else ModuleModel)(target, options)

    def versions(self) -> dict[str, str]:
        return {"torch": torch.__version__}


backend = TorchBackend()
