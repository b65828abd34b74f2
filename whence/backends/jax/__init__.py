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
    return owner if getattr(target, "__name__", "") == "apply" and _is_linen(owner) else target


def _is_linen(target: Any) -> bool:
    # a framework that the user has not imported has no models
    return "flax.linen" in sys.modules and isinstance(target, sys.modules["flax.linen"].Module)


def _adapter(target: Any) -> type[Model]:
    """The adapter for a model; nothing is imported that the user has not imported."""
    if _is_linen(target):
        from whence.backends.jax.flax_models import LinenModel

        return LinenModel
    if "flax.nnx" in sys.modules and isinstance(target, sys.modules["flax.nnx"].Module):
        from whence.backends.jax.flax_models import NnxModel

        return NnxModel
    if is_keras(target) and sys.modules["keras"].backend.backend() == "jax":
        from whence.backends.jax.keras_model import KerasModel

        return KerasModel
    # a pytree that can be called: its leaves are the parameters
    return PytreeModel if callable(target) and not jax.tree_util.all_leaves([target]) else FunctionModel


backend = JaxBackend()
