"""The methods, one file per family: each is its paper's formula. Called, ``whence.methods()``, it lists their names."""

from __future__ import annotations

import sys
from types import ModuleType

from whence.core.registry import method_names


class _Methods(ModuleType):
    """A package that is also the function of its name."""

    def __call__(self) -> tuple[str, ...]:
        """The names of all methods."""
        return method_names()


sys.modules[__name__].__class__ = _Methods
