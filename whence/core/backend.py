"""What a framework brings: its operations and its model adapters. Found by type; nothing is imported for it."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from whence.core.errors import BackendError
from whence.core.model import Model, Options
from whence.core.ops import Ops

BUILT_IN = {"torch": "torch", "jax": "jax", "tensorflow": "tensorflow", "numpy": "numpy"}
"""Backend by the framework module whose presence in ``sys.modules`` makes it a candidate."""


class Backend(ABC):
    """One framework. ``framework`` is the module that must be imported before anything can belong to it."""

    name: str
    framework: str
    ops: Ops

    @abstractmethod
    def adapts(self, target: Any) -> bool:
        """Whether this is a model type of the framework; plain functions belong to none."""

    @abstractmethod
    def adapt(self, target: Any, options: Options | None) -> Model:
        """The user's model, or a plain function on this framework's tensors, as a ``Model``."""

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Versions for the provenance."""


@cache
def _third_party() -> tuple[Backend, ...]:
    return tuple(entry.load() for entry in entry_points(group="whence.backends"))


@cache
def _built_in(name: str) -> Backend:
    found: Backend = import_module(f"whence.backends.{name}").backend
    return found


def backends() -> tuple[Backend, ...]:
    """The backends of the frameworks that are already imported; NumPy, which takes any callable, comes last."""
    built_in = tuple(_built_in(name) for name, framework in BUILT_IN.items() if framework in sys.modules)
    others = tuple(b for b in _third_party() if b.framework in sys.modules)
    return (*others, *built_in)


def backend_named(name: str) -> Backend:
    """The backend of that name, its framework imported if need be."""
    if name in BUILT_IN:
        return _built_in(name)
    for backend in _third_party():
        if backend.name == name:
            return backend
    raise BackendError(
        "framework", received=repr(name), valid=", ".join([*BUILT_IN, *(b.name for b in _third_party())])
    )


def backend_of_tensor(x: Any) -> Backend:
    """The backend whose tensor ``x`` is."""
    for backend in backends():
        if backend.ops.is_tensor(x):
            return backend
    raise BackendError(
        "a tensor",
        received=f"{type(x).__module__}.{type(x).__name__}",
        valid="a tensor of " + ", ".join(b.name for b in backends()),
    )


def adapt(target: Any, options: Options | None = None, *, example: Any = None, framework: str | None = None) -> Model:
    """The user's model as a ``Model``.

    A model type names its framework; a plain function is taken for one on the tensors of ``example``, else of
    ``framework``, else for a black box on NumPy arrays.
    """
    if isinstance(target, Model):
        return target
    if framework is not None:
        return backend_named(framework).adapt(target, options)
    for backend in backends():
        if backend.adapts(target):
            return backend.adapt(target, options)
    if not callable(target):
        raise BackendError(
            "a model",
            received=f"{type(target).__module__}.{type(target).__name__}",
            valid="a model of " + ", ".join(b.name for b in backends()) + ", or a callable",
        )
    return (backend_named("numpy") if example is None else backend_of_tensor(example)).adapt(target, options)
