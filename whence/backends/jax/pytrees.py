"""Callable pytrees, such as Equinox modules: arrays among the leaves are parameters, the rest is structure."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Self

import jax

from whence.backends.jax.model import Args, JaxModel, Kwargs, per_sample_mark, warn_of_training
from whence.backends.jax.static import Static
from whence.core.layers import LayerCalls
from whence.core.ops import Tensor


class PytreeModel(JaxModel):
    """Any object that can be called and is a pytree; layers are callable nodes by path, such as ``"layers.0"``.

    Equinox modules take one sample and are mapped over the batch; others take the batch, unless ``per_sample`` says so.
    """

    @property
    def default_layout(self) -> str | None:  # type: ignore[override]
        return "NCHW" if self._is_equinox else None

    @property
    def _is_equinox(self) -> bool:
        return "equinox" in sys.modules and isinstance(self.target, sys.modules["equinox"].Module)

    @property
    def per_sample(self) -> bool:
        """Whether the model takes one sample without a batch axis."""
        return self._is_equinox if self.options.per_sample is None else self.options.per_sample

    def layers(self) -> tuple[str, ...]:
        return tuple(name for name, node in _nodes(self.target) if callable(node))

    def read_state(self) -> tuple[Static, Any]:
        return Static.split(_inference(self.target))

    def call(self, static: Static, arrays: Any, args: Args, kwargs: Kwargs, calls: LayerCalls) -> Any:
        model = static.join(arrays)
        for name in sorted(calls.layers, key=len, reverse=True):  # inner ones first
            model = _replaced(model, name, calls)
        function = partial(model, **kwargs)
        return jax.vmap(function)(*args) if self.per_sample else function(*args)

    def _mark(self, layer: str, output: Any) -> Tensor:
        return (per_sample_mark if self.per_sample and isinstance(output, jax.Array) else super()._mark)(layer, output)

    @contextmanager
    def hold(self) -> Iterator[Self]:
        training = sorted({type(node).__name__ for _, node in _nodes(self.target) if _in_training(node)})
        if training:
            warn_of_training(training, self.target)
        with super().hold():
            yield self


class Listening:
    """A layer in its place in the model, handing what goes in and out to ``calls``; it passes for the layer itself."""

    def __init__(self, layer: Any, name: str, calls: LayerCalls) -> None:
        self.__dict__.update(layer=layer, name=name, calls=calls)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        own = self.__dict__
        return own["calls"].around(own["name"], own["layer"], args, kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["layer"], name)

    # isinstance asks for the class, and should hear the layer's
    __class__ = property(lambda self: type(self.__dict__["layer"]))


jax.tree_util.register_pytree_node(
    Listening,
    lambda node: ((node.__dict__["layer"],), (node.__dict__["name"], node.__dict__["calls"])),
    lambda own, children: Listening(children[0], *own),
)


def _children(node: Any) -> list[tuple[str, Any]]:
    """What stands directly below a node, by attribute, key or position."""
    below = jax.tree_util.tree_flatten_with_path(node, is_leaf=lambda inner: inner is not node)[0]
    return [(_written(path[-1]), child) for path, child in below if path]


def _written(key: Any) -> str:
    return str(next((getattr(key, field) for field in ("name", "key", "idx") if hasattr(key, field)), key))


def _nodes(root: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All inner nodes below the root by path."""
    for name, child in _children(root):
        if not jax.tree_util.all_leaves([child]):
            yield prefix + name, child
            yield from _nodes(child, f"{prefix}{name}.")


def _replaced(root: Any, path: str, calls: LayerCalls) -> Any:
    """The tree with the node at ``path`` listened to; the tree itself where there is no such node."""

    def at(node: Any, prefix: str) -> Any:
        below, structure = jax.tree_util.tree_flatten(node, is_leaf=lambda inner: inner is not node)
        names = [prefix + name for name, _ in _children(node)]
        new = [Listening(child, path, calls) if name == path
               else at(child, f"{name}.") if path.startswith(f"{name}.") else child
               for name, child in zip(names, below, strict=True)]  # fmt: skip
        return jax.tree_util.tree_unflatten(structure, new)

    return at(root, "")


def _inference(tree: Any) -> Any:
    """A copy of the tree with every ``inference`` flag set."""

    def switched(path: Any, leaf: Any) -> Any:
        return True if leaf is False and path and _written(path[-1]) == "inference" else leaf

    return jax.tree_util.tree_map_with_path(switched, tree)


def _in_training(node: Any) -> bool:
    return getattr(node, "inference", None) is False
