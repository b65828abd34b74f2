"""Methods of users' classes replaced for the duration of a call, with effect in one thread; nothing is left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import tensorflow as tf

Hear = Callable[[Any, Callable[..., Any], Any, Any], Any]
"""``hear(object, call, args, kwargs)``: makes the call of a method and gives the output to go on with."""
_hear: ContextVar[Hear | None] = ContextVar("whence_tensorflow_calls", default=None)


@contextmanager
def untraced(classes: Iterable[type], name: str) -> Iterator[None]:
    """Run the Python body of the methods ``name`` that are a ``tf.function``: a finished trace calls no layers."""
    traced = [c for c in classes if _is_traced(_method(c, name))]
    with hearing(lambda _, call, args, kwargs: call(*args, **kwargs), traced, name):
        yield


@contextmanager
def hearing(hear: Hear, classes: Iterable[type], name: str = "__call__") -> Iterator[None]:
    """Let ``hear`` make every call of the method ``name`` on direct instances of ``classes`` in this thread."""
    token = _hear.set(hear)
    try:
        with ExitStack() as stack:
            for cls in set(classes):
                stack.enter_context(_replaced(cls, name))
            yield
    finally:
        _hear.reset(token)


class _Patch:
    """A method that was replaced, whether the class itself had it, and how many explanations rely on it."""

    def __init__(self, cls: type, name: str) -> None:
        self.users, self.own, self.original = 0, name in vars(cls), _method(cls, name)


_patches: dict[tuple[type, str], _Patch] = {}
_lock = threading.RLock()


@contextmanager
def _replaced(cls: type, name: str) -> Iterator[None]:
    key = (cls, name)
    with _lock:
        patch = _patches.setdefault(key, _Patch(cls, name))
        if patch.users == 0:
            setattr(cls, name, _passing_on(cls, patch.original))
        patch.users += 1
    try:
        yield
    finally:
        with _lock:
            patch.users -= 1
            if patch.users == 0:
                del _patches[key]
                if patch.own:
                    setattr(cls, name, patch.original)
                else:
                    delattr(cls, name)


def _passing_on(cls: type, original: Any) -> Any:
    @tf.autograph.experimental.do_not_convert
    def call(instance: Any, *args: Any, **kwargs: Any) -> Any:
        hear = _hear.get()
        # an instance of a subclass comes here through super(), which is no call of its own
        if hear is None or type(instance) is not cls:
            return original.__get__(instance, type(instance))(*args, **kwargs)
        body = original.python_function if _is_traced(original) else original
        return hear(instance, partial(body, instance), args, kwargs)

    return call


def _method(cls: type, name: str) -> Any:
    """The method as it stands in the class, not bound to anything."""
    return next(vars(base)[name] for base in cls.__mro__ if name in vars(base))


def _is_traced(method: Any) -> bool:
    return isinstance(method, tf.types.experimental.GenericFunction) and hasattr(method, "python_function")
