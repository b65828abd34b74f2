"""JAX: Flax NNX and Linen modules, callable pytrees, Keras on its JAX backend, and plain functions."""

from __future__ import annotations

import sys
from typing import Any

import jax

from whence.backends.jax.functions import FunctionModel
from whence.backends.jax.ops import JaxOps, ops
from whence.backends.jax.pytrees import PytreeModel
from whence.backends.keras_layers import is_keras
from whence.core.backend import Backend
from whence.core.model import Model, Options


class JaxBackend(Backend):
    """JAX >= 0.4.38."""

    name = "jax"
    framework = "jax"
    ops: JaxOps = ops

    def adapts(self, target: Any) -> bool:
        return _adapter(target) is not FunctionModel or type(target).__module__.split(".")[0] in ("jax", "jaxlib")

    def adapt(self, target: Any, options: Options | None) -> Model:
        if options is not None and options.variables is not None:
            target = _applied(target)
        return _adapter(target)(target, options)

    def versions(self) -> dict[str, str]:
        libraries = ("jax", "flax", "equinox", "keras")
        return {name: sys.modules[name].__version__ for name in libraries if name in sys.modules}


def _applied(target: Any) -> Any:
    """The Linen module of ``module.apply``, whose layers can be named."""
    owner = getattr(target, "__self__", None)
    is_apply = getattr(target, "__name__", "") == "apply" and _adapter(owner) is not FunctionModel
    return owner if is_apply and "flax" in sys.modules else target


def _adapter(target: Any) -> type[Model]:
    """The adapter for a model; nothing is imported that the user has not imported."""
    if "flax" in sys.modules:
        from flax import linen, nnx

        from whence.backends.jax import flax_models

        if isinstance(target, nnx.Module):
            return flax_models.NnxModel
        if isinstance(target, linen.Module):
            return flax_models.LinenModel
    if is_keras(target) and sys.modules["keras"].backend.backend() == "jax":
        from whence.backends.jax.keras_model import KerasModel

        return KerasModel
    # a pytree that can be called: its leaves are the parameters
    return PytreeModel if callable(target) and not jax.tree_util.all_leaves([target]) else FunctionModel


backend = JaxBackend()
