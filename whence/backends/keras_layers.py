"""What Keras models share on all their runtimes: layer names, taps and edits, dtypes and axis order.

Layers are found in functional, sequential, subclassed and nested models alike. Their outputs are reached through a
patch of ``keras.layers.Layer.__call__`` that is there only while some explanation needs it, and that lets every
call pass that does not belong to that explanation.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

from whence.core.errors import DTypeError
from whence.core.layers import PRE, LayerCalls, split_call, with_suffix
from whence.core.ops import Ops, Tensor


def is_keras(target: Any) -> bool:
    """Whether ``target`` is a Keras layer or model, judged by names alone, so that nothing is imported for it."""
    return any(base.__name__ == "Layer" and base.__module__.startswith("keras.") for base in type(target).__mro__)


def layer_names(model: Any) -> tuple[str, ...]:
    """Names of the layers, nested ones as paths: ``"conv1"``, ``"stage2_0/conv1"``."""
    return tuple(dict.fromkeys(name for name, _ in _named(model)))


@contextmanager
def layer_calls(
    model: Any, calls: LayerCalls, decorate: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None
) -> Iterator[None]:
    """Hand input and output of the wanted layers of ``model`` to ``calls``, for calls made in this thread or task.

    ``decorate`` is applied to the patch, for a runtime that would otherwise rewrite it.
    """
    wanted = set(calls.layers)
    layers = [(name, layer) for name, layer in _named(model) if name in wanted]
    names = {id(layer): name for name, layer in layers}
    if not names:
        yield
        return
    token = _active.set((names, calls))
    _patch.enter(decorate)
    try:
        with ExitStack() as stack:
            for name, layer in layers:
                if name + PRE in calls.wanted:
                    stack.enter_context(_reported_activation(layer))
            yield
    finally:
        _patch.leave()
        _active.reset(token)


def before_activation(model: Any, name: str) -> str:
    """The point before a layer's own activation: ``"conv:pre"`` of a ``Conv2D(activation="relu")`` named conv."""
    activation = getattr(dict(_named(model)).get(split_call(name)[0]), "activation", None)
    return name if activation is None or getattr(activation, "__name__", "") == "linear" else with_suffix(name, PRE)


def takes_separately(model: Any, inputs: Any) -> bool:
    """Whether ``call`` has one argument for each of several inputs, instead of one for the whole structure.

    Functional and sequential models take the whole structure.
    """
    signature = inspect.signature(model.call)
    own = [p for name, p in signature.parameters.items() if name not in ("training", "mask")]
    args, kwargs = ((), inputs) if isinstance(inputs, dict) else (inputs, {})
    try:
        signature.replace(parameters=own).bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def layout_of(model: Any) -> str:
    """The axis order of images: that of the first layer that has one, else Keras' setting."""
    import keras

    formats = (getattr(layer, "data_format", None) for layer in _layers(model))
    known = (f for f in formats if f in ("channels_first", "channels_last"))
    return "NCHW" if next(known, keras.config.image_data_format()) == "channels_first" else "NHWC"


def require_dtype(model: Any, ops: Ops, names: Sequence[str], leaves: Sequence[Tensor]) -> None:
    """Raise DTypeError for floating-point inputs that Keras would silently cast to another precision."""
    given = {ops.dtype(leaf): name for name, leaf in zip(names, leaves, strict=True) if ops.is_floating(leaf)}
    declared = {_dtype(tensor) for tensor in getattr(model, "inputs", None) or ()}
    for what, dtypes in (("variables", set(map(_dtype, model.weights))), ("declared inputs", declared)):
        floating = {d for d in dtypes if "float" in d}
        if what == "declared inputs" and not floating >= given.keys():
            # a mixed-precision model casts by its own policy, in some releases already at its inputs
            floating -= {layer.compute_dtype for layer in _layers(model) if layer.compute_dtype != layer.variable_dtype}
        wanted = " or ".join(sorted(floating))
        for dtype, name in given.items():
            if wanted and dtype not in floating:
                raise DTypeError(
                    f"{name} for a Keras model whose {what} are {wanted}",
                    received=dtype,
                    valid=f"inputs of {wanted}",
                )


def _dtype(variable: Any) -> str:
    dtype = variable.dtype
    return str(getattr(dtype, "name", dtype))


def _layers(layer: Any) -> Iterator[Any]:
    """The layer and all layers inside it."""
    yield layer
    for inner in layer._flatten_layers(include_self=False, recursive=False):
        yield from _layers(inner)


def _named(model: Any) -> list[tuple[str, Any]]:
    """Layers with their paths; one that stands in several places has the path of the first."""
    found: list[tuple[str, Any]] = []
    seen: set[int] = set()

    def walk(layer: Any, prefix: str) -> None:
        for inner in layer._flatten_layers(include_self=False, recursive=False):
            if id(inner) not in seen and type(inner).__name__ != "InputLayer":
                seen.add(id(inner))
                found.append((prefix + inner.name, inner))
                walk(inner, f"{prefix}{inner.name}/")

    walk(model, "")
    return found


_active: ContextVar[tuple[dict[int, str], LayerCalls] | None] = ContextVar("whence_keras_layers", default=None)


class _Patch:
    """The patched ``Layer.__call__`` and how many explanations rely on it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._original: Any = None

    def enter(self, decorate: Callable[[Callable[..., Any]], Callable[..., Any]] | None) -> None:
        from keras.layers import Layer

        with self._lock:
            if self._users == 0:
                self._original = Layer.__call__
                patched = _passing_on(self._original)
                Layer.__call__ = decorate(patched) if decorate else patched
            self._users += 1

    def leave(self) -> None:
        from keras.layers import Layer

        with self._lock:
            self._users -= 1
            if self._users == 0:
                Layer.__call__ = self._original


_patch = _Patch()


def _passing_on(original: Callable[..., Any]) -> Callable[..., Any]:
    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        names, calls = _active.get() or ({}, None)
        name = names.get(id(layer))
        if name is None or calls is None:
            return original(layer, *args, **kwargs)
        calls.begin(name)
        try:
            args, kwargs = calls.enter(name, args, kwargs)
            output = original(layer, *args, **kwargs)
        finally:
            calls.end(name)
        edited = calls(name, output)
        _keep_mask(output, edited)
        return edited

    return call


_reported: dict[int, tuple[int, Any]] = {}
"""Layers whose activation is patched, by identity: how many explanations rely on it, and what was there."""
_reported_lock = threading.Lock()


@contextmanager
def _reported_activation(layer: Any) -> Iterator[None]:
    """Hand what the layer's activation is given to the calls that want it, under ``name:pre``."""
    with _reported_lock:
        users, own = _reported.get(id(layer), (0, vars(layer).get("activation")))
        if users == 0 and callable(getattr(layer, "activation", None)):
            vars(layer)["activation"] = _reporting(layer, layer.activation)
        _reported[id(layer)] = users + 1, own
    try:
        yield
    finally:
        with _reported_lock:
            users, own = _reported.pop(id(layer))
            if users > 1:
                _reported[id(layer)] = users - 1, own
            elif own is None:
                vars(layer).pop("activation", None)
            else:
                vars(layer)["activation"] = own


def _reporting(layer: Any, activation: Callable[..., Any]) -> Callable[..., Any]:
    def reporting(x: Any, *args: Any, **kwargs: Any) -> Any:
        names, calls = _active.get() or ({}, None)
        name = names.get(id(layer))
        return activation(x if name is None or calls is None else calls(name + PRE, x), *args, **kwargs)

    return reporting


def _keep_mask(output: Any, edited: Any) -> None:
    """Padding marked on a layer's output is marked on what replaces it: the layers after it look there."""
    from keras.src import backend

    if isinstance(output, (tuple, list)):
        output, edited = output[0], edited[0]
    # Keras before 3.6 has the attribute alone
    mask = getattr(backend, "get_keras_mask", lambda x: getattr(x, "_keras_mask", None))(output)
    if mask is not None and edited is not output:
        getattr(backend, "set_keras_mask", lambda x, mask: setattr(x, "_keras_mask", mask))(edited, mask)
