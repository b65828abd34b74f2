"""What a plain function reads from its surroundings: compiled code holds it, so that a change asks for new code."""

from __future__ import annotations

import types
import weakref
import zlib
from collections.abc import Hashable, Iterator
from functools import partial
from typing import Any

import jax
import numpy as np

LIMIT = 20_000
"""How many objects are looked at."""


class Same:
    """Equal for one and the same living object, without keeping it alive."""

    def __init__(self, value: Any) -> None:
        self.id, self.ref = id(value), weakref.ref(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.id == other.id and self.ref() is not None and self.ref() is other.ref()

    def __hash__(self) -> int:
        return self.id


def captured(function: Any) -> tuple[Hashable, ...]:
    """Numbers and arrays in the closure, the globals, the bound object and the functions called by name.

    Globals of other packages than the function's own are not followed. Where too much is found to look through,
    the answer is never the same twice.
    """
    try:
        return tuple(_walk(function, _package(function), set()))
    except _TooMuch:
        return (object(),)


def _package(value: Any) -> str:
    return str(getattr(value, "__module__", None) or "").split(".")[0]


def _walk(value: Any, package: str, seen: set[int]) -> Iterator[Hashable]:
    if isinstance(value, (bool, int, float, complex, str, bytes, type(None))):
        yield type(value).__name__, value
        return
    if id(value) in seen or isinstance(value, (type, types.ModuleType)):
        return
    if _package(type(value)) == "whence":
        return
    seen.add(id(value))
    if len(seen) > LIMIT:
        raise _TooMuch
    for inner in _inside(value, package):
        yield from [inner] if isinstance(inner, _Found) else _walk(inner, package, seen)


class _TooMuch(Exception):  # noqa: N818  (never seen by users)
    """More objects than are looked at."""


class _Found(tuple[Hashable, ...]):
    """One entry of what was captured."""


def _inside(value: Any, package: str) -> Iterator[Any]:
    """What stands inside a value, one level down."""
    if isinstance(value, jax.Array):
        yield _Found((Same(value),))
    elif isinstance(value, (np.ndarray, np.generic)):
        # an array that can be written to is known by its contents
        yield _Found((value.shape, value.dtype.str, zlib.crc32(value.tobytes())))
    elif isinstance(value, dict):
        yield from (*value.keys(), *value.values())
    elif isinstance(value, (list, tuple)):
        yield from value
    elif isinstance(value, partial):
        yield from (value.func, value.args, value.keywords)
    elif isinstance(value, types.MethodType):
        yield from (value.__self__, value.__func__)
    elif isinstance(value, types.FunctionType):
        yield from (cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell))
        yield from value.__defaults__ or ()
        yield from (value.__kwdefaults__ or {}).values()
        if _package(value) == package:
            names = sorted(_names(value.__code__))
            yield from (value.__globals__[name] for name in names if name in value.__globals__)
    elif hasattr(value, "__wrapped__"):
        yield value.__wrapped__
    elif not jax.tree_util.all_leaves([value]):
        yield from jax.tree_util.tree_leaves(value)
    else:
        yield from list(getattr(value, "__dict__", {}).values())


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _names(code: types.CodeType) -> set[str]:
    """Names that a function's code looks up, inner functions included."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _names(constant)
    return found
