"""Places inside a model by name, and the taps and edits of one forward pass.

``"conv2"`` is the output of a layer that is called once, ``"relu:0"`` and ``"relu:1"`` are those of the calls of a
reused one. ``"conv2:in"`` is the input of a layer that takes a single tensor, ``"conv2:in:1"`` that of its second call.
``"conv2:pre"`` is what a Keras layer hands to its own activation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from whence.core.errors import LayerError
from whence.core.ops import Tensor
from whence.core.tree import sequence

IN, PRE = ":in", ":pre"


class Put:
    """An edit that puts a value in the place of a layer's output, whatever that is."""

    def __init__(self, value: Tensor) -> None:
        self.value = value

    def __call__(self, _: Tensor) -> Tensor:
        return self.value


class Seen:
    """An edit that gives back the value that it is given, and lets it be differentiated by."""

    def __init__(self, watch: Callable[[Tensor], Tensor]) -> None:
        self.watch = watch

    def __call__(self, value: Tensor) -> Tensor:
        return self.watch(value)


@dataclass(frozen=True)
class Within:
    """Layers whose calls are run inside a ``scope(name)``, by which operations know the layers that they run in."""

    names: tuple[str, ...]
    scope: Callable[[str], AbstractContextManager[Any]]


class Every(tuple[str, ...]):
    """Taps on all calls of these layers: those never called, and those that give no tensor, are left out."""


def split_call(name: str) -> tuple[str, int | None]:
    """``"relu:1"`` as (``"relu"``, 1); without a number, None."""
    point, colon, number = name.rpartition(":")
    return (point, int(number)) if colon and number.isdigit() else (name, None)


def with_suffix(name: str, suffix: str) -> str:
    """``"conv:in:1"`` of ``"conv:1"``: a point of the same call of a layer."""
    point, call = split_call(name)
    return point + suffix + ("" if call is None else f":{call}")


def layer_of(point: str) -> str:
    """The layer that a point without call number belongs to: ``"conv2"`` of ``"conv2:in"``."""
    return point.removesuffix(IN).removesuffix(PRE)


def innermost(layers: Sequence[str]) -> tuple[str, ...]:
    """The layers that hold no other ones."""
    holders = {layer[:i] for layer in layers for i, char in enumerate(layer) if char in "./"}
    return tuple(layer for layer in layers if layer not in holders)


def missing_layer(name: str, layers: Sequence[str]) -> LayerError:
    """The error for a layer name that does not exist: nearest names first."""
    near = get_close_matches(name, layers, n=3, cutoff=0.4)
    known = ", ".join(near or layers[:8]) or "this model has no layers that can be named"
    return LayerError(
        f"layer {name!r}",
        received=f"a model of {len(layers)} named layers",
        valid=f"{'nearest names: ' if near else 'names: '}{known}",
    )


class LayerCalls:
    """Taps and edits of one forward pass: counts the calls of each layer and applies what is asked of it."""

    def __init__(
        self, edits: Mapping[str, Callable[[Tensor], Tensor]] | None, taps: Iterable[str], within: Within | None = None
    ) -> None:
        self.edits, self.taps, self.within = dict(edits or {}), tuple(taps), within
        self.begun: dict[str, int] = {}
        """How often layers with a scope were called."""
        self._scopes: list[ExitStack] = []
        self.every = isinstance(taps, Every)
        self.tapped: dict[str, Tensor] = {}
        self._calls: dict[str, int] = {}
        self.several: set[str] = set()
        """Inputs of layers that turned out to take several tensors."""

    @property
    def wanted(self) -> tuple[str, ...]:
        """The points concerned, without call numbers."""
        return tuple(dict.fromkeys(split_call(name)[0] for name in (*self.edits, *self.taps)))

    @property
    def scoped(self) -> tuple[str, ...]:
        """The layers whose calls have a scope."""
        return () if self.within is None else tuple(dict.fromkeys(split_call(name)[0] for name in self.within.names))

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers concerned."""
        return tuple(dict.fromkeys((*map(layer_of, self.wanted), *self.scoped)))

    def around(self, layer: str, call: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What the layer's ``call`` gives, in its scope, after taps and edits of its input and of its output."""
        self.begin(layer)
        try:
            args, kwargs = self.enter(layer, args, kwargs)
            output = call(*args, **kwargs)
        finally:
            self.end(layer)
        return self(layer, output)

    def begin(self, layer: str) -> None:
        """Enter the scopes of a layer's call."""
        if self.within is None or layer not in self.scoped:
            return
        count = self.begun.get(layer, 0)
        self.begun[layer] = count + 1
        self._scopes.append(ExitStack())
        for name in {layer, f"{layer}:{count}"} & set(self.within.names):
            self._scopes[-1].enter_context(self.within.scope(name))

    def unbegun(self) -> set[str]:
        """The layers with a scope that were not called."""
        return set(self.scoped) - self.begun.keys()

    def end(self, layer: str) -> None:
        """Leave them."""
        if layer in self.scoped:
            self._scopes.pop().close()

    def enter(
        self, layer: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of the layer's call after taps and edits of its input, if it takes a single tensor."""
        args, kwargs = tuple(args), dict(kwargs)
        if layer + IN not in self.wanted:
            return args, kwargs
        given = {key: value for key, value in (*enumerate(args), *kwargs.items()) if _tensors(value)}
        if sum(map(_tensors, given.values())) != 1:
            self.several.add(layer + IN)
            return args, kwargs
        ((key, value),) = given.items()
        if isinstance(key, int):
            return (*args[:key], self(layer + IN, value), *args[key + 1 :]), kwargs
        return args, {**kwargs, str(key): self(layer + IN, value)}

    def __call__(self, point: str, value: Any) -> Any:
        """What is at the point after taps and edits; only the first element of a tuple is touched."""
        if isinstance(value, (tuple, list)):
            first = self(point, value[0])
            return value if first is value[0] else sequence(type(value), (first, *value[1:]))
        count = self._calls.get(point, 0)
        self._calls[point] = count + 1
        for name in (point, f"{point}:{count}"):
            if name in self.edits:
                value = self.edits[name](value)
            if name in self.taps and not self.every:
                self.tapped[name] = value
        if self.every and point in self.taps and hasattr(value, "shape"):
            self.tapped[f"{point}:{count}"] = value
        return value

    def finish(self, names: Callable[[], Sequence[str]]) -> dict[str, Tensor]:
        """The tapped values; raises LayerError for layers that were not reached, or were reached several times.

        ``names`` gives the model's layers, for an error.
        """
        if self.every:
            return {_shortest(name, self._calls): value for name, value in self.tapped.items()}
        for name in () if self.within is None else self.within.names:
            layer, call = split_call(name)
            count = self.begun.get(layer, 0)
            if count == 0:
                raise _uncalled(name) if layer in names() else missing_layer(layer, names())
            if call is not None and call >= count:
                raise _called_less(name, layer, count)
        for name in (*self.edits, *self.taps):
            point, call = split_call(name)
            count = self._calls.get(point, 0)
            if count == 0:
                layers = names()
                if layer_of(point) not in layers and point not in layers:
                    raise missing_layer(layer_of(point), layers)
                if point in self.several:
                    received, valid = "a layer that takes several tensors", "a layer with a single input"
                elif point.endswith(PRE) and point not in layers:
                    received, valid = "no Keras layer with an activation of its own", f"{layer_of(point)!r}, its output"
                else:
                    raise _uncalled(name)
                raise LayerError(f"layer {name!r}", received=received, valid=valid)
            if call is None and count > 1:
                numbered = ", ".join(f"{point}:{i}" for i in range(count))
                raise LayerError(
                    f"layer {name!r}",
                    received=f"{count} calls of it in one forward pass",
                    valid=f"one of them: {numbered}",
                )
            if call is not None and call >= count:
                raise _called_less(name, point, count)
        return self.tapped


def _uncalled(name: str) -> LayerError:
    return LayerError(
        f"layer {name!r}",
        received="a forward pass that never calls it from Python",
        valid="a layer that the model calls, outside scripted or already compiled code and functions "
        "with a derivative of their own",
    )


def _called_less(name: str, point: str, count: int) -> LayerError:
    return LayerError(
        f"layer {name!r}",
        received=f"{count} calls of it in one forward pass",
        valid=f"{point}:0 to {point}:{count - 1}",
    )


def _tensors(value: Any) -> int:
    """How many tensors an argument holds."""
    return sum(map(_tensors, value)) if isinstance(value, (tuple, list)) else hasattr(value, "shape")


def _shortest(name: str, calls: Mapping[str, int]) -> str:
    """``"conv"`` for ``"conv:0"`` where there was one call only."""
    point, _ = split_call(name)
    return point if calls[point] == 1 else name
