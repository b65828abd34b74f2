"""Derivatives of pieces of a computation: with ``tf.gradients`` inside a graph, with a tape outside of one.

A tape does not see operations that are re-emitted one by one, ``tf.gradients`` does; and it follows nothing but the
path from input to output, so that gradients towards parameters are never computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import tensorflow as tf

from whence.core.ops import Pullback, Tensor, Watch


def backpropagate(fn: Callable[..., Tensor], xs: Sequence[Tensor]) -> tuple[Tensor, Pullback]:
    """``fn(*xs)`` and its pullback."""
    if tf.executing_eagerly():
        return _with_tape(fn, xs)
    # fresh tensors, so that only paths through fn count
    xs = [tf.identity(x) for x in xs]
    y = fn(*xs)

    def pullback(cotangent: Tensor) -> tuple[Tensor, ...]:
        return tuple(pull([y], xs, [cotangent]))

    return y, pullback


def backpropagate_inside(
    fn: Callable[[Watch], Tensor],
) -> tuple[Tensor, dict[str, Tensor], Callable[[Tensor], dict[str, Tensor]]]:
    """``fn(watch)``, what it watched, and the pullback towards that."""
    found: dict[str, Tensor] = {}
    eager = tf.executing_eagerly()
    tape = tf.GradientTape(watch_accessed_variables=False)
    with tape if eager else nullcontext():

        def watch(name: str, value: Tensor) -> Tensor:
            found[name] = tf.identity(value)
            if eager:
                tape.watch(found[name])
            return found[name]

        y = fn(watch)

    def pullback(cotangent: Tensor) -> dict[str, Tensor]:
        xs = list(found.values())
        if not eager:
            return dict(zip(found, pull([y], xs, [cotangent]), strict=True))
        gradients = tape.gradient(y, xs, cotangent, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return {name: _dense(g, x) for (name, x), g in zip(found.items(), gradients, strict=True)}

    return y, found, pullback


def pull(ys: Sequence[Tensor], xs: Sequence[Tensor], cotangents: Sequence[Tensor]) -> list[Tensor]:
    """Cotangents of ``xs`` from those of ``ys`` inside a graph; zeros where no path leads."""
    found = tf.gradients(list(ys), list(xs), list(cotangents), unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [_dense(g, x) for g, x in zip(found, xs, strict=True)]


def _with_tape(fn: Callable[..., Tensor], xs: Sequence[Tensor]) -> tuple[Tensor, Pullback]:
    xs = [tf.identity(x) for x in xs]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(xs)
        y = fn(*xs)

    def pullback(cotangent: Tensor) -> tuple[Tensor, ...]:
        found = tape.gradient(y, xs, cotangent, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return tuple(_dense(g, x) for g, x in zip(found, xs, strict=True))

    return y, pullback


def _dense(gradient: Tensor, x: Tensor) -> Tensor:
    """Gradients of gathers come as slices; shapes may have been lost on the way."""
    gradient = tf.convert_to_tensor(gradient)
    return gradient if gradient.shape.is_fully_defined() else tf.ensure_shape(gradient, x.shape)


def with_pullback(
    ys: Sequence[Tensor], xs: Sequence[Tensor], pullback: Callable[..., Sequence[Tensor | None]]
) -> list[Tensor]:
    """The values ``ys``, whose derivative towards ``xs`` is ``pullback(*cotangents)`` whatever computed them.

    ``tf.custom_gradient`` would do, but inside a graph it enters every use into a registry that is never emptied, and
    the graph, with the weights it captured, would live as long as the process.
    """
    if tf.executing_eagerly():
        return _with_pullback_eagerly(ys, xs, pullback)
    graph = tf.compat.v1.get_default_graph()
    with graph.gradient_override_map({"IdentityN": _REGISTERED}):
        # what computed ys is cut off, so that nobody can take the plain derivative by mistake
        joined = tf.identity_n([*(tf.stop_gradient(y) for y in ys), *xs])
    joined[0].op.whence_pullback = len(ys), pullback
    return list(joined[: len(ys)])


_REGISTERED = "WhencePullback"


@tf.RegisterGradient(_REGISTERED)
def _call_pullback(operation: Any, *cotangents: Tensor) -> list[Tensor | None]:
    """The gradient of ``with_pullback`` in a graph: its inputs are ys, which get none, and xs."""
    count, pullback = operation.whence_pullback
    return [None] * count + list(pullback(*cotangents[:count]))


def _with_pullback_eagerly(
    ys: Sequence[Tensor], xs: Sequence[Tensor], pullback: Callable[..., Sequence[Tensor | None]]
) -> list[Tensor]:
    @tf.custom_gradient
    def values(*_: Tensor) -> Any:
        def gradient(*cotangents: Tensor) -> Any:
            return list(pullback(*cotangents))

        return [tf.stop_gradient(y) for y in ys], gradient

    return list(values(*xs))
