"""Python functions of torch run with the operations inside them intercepted.

Such a function begins by asking whether somebody overrides it, and would hand itself over again and again: a copy that
sees a "no" goes on to its operations.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import cache
from typing import Any

_ASKS = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")


@cache
def opened(function: Any) -> Callable[..., Any] | None:
    """The copy; None for what is not written in Python."""
    if not isinstance(function, types.FunctionType) or not set(_ASKS) & set(function.__code__.co_names):
        return None
    seen = {**function.__globals__, **{name: _no for name in _ASKS}}
    copy = types.FunctionType(function.__code__, seen, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _no(*_: Any) -> bool:
    return False
