"""``tf.Module`` models: layers are the callable objects inside, named by their attribute paths."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from whence.backends.tensorflow.model import TensorflowModel
from whence.backends.tensorflow.patches import hearing
from whence.core.layers import LayerCalls


class ModuleModel(TensorflowModel):
    """A ``tf.Module`` with ``__call__``."""

    default_layout = "NHWC"

    def layers(self) -> tuple[str, ...]:
        return tuple(name for name, module in _named(self.target).items() if callable(module))

    @contextmanager
    def _listening(self, calls: LayerCalls) -> Iterator[None]:
        if not calls.layers:
            yield
            return
        modules = {name: module for name, module in _named(self.target).items() if callable(module)}
        wanted = {id(modules[name]): name for name in calls.layers if name in modules}

        def hear(module: Any, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
            name = wanted.get(id(module))
            return call(*args, **kwargs) if name is None else calls.around(name, call, args, kwargs)

        # all classes, since the body of any tf.function on the way has to be run
        with hearing(hear, (type(module) for module in (self.target, *modules.values()))):
            yield


def _named(root: tf.Module) -> dict[str, Any]:
    """Modules by attribute path, ``"blocks.0.conv"``; one that stands in several places has the path of the first."""
    found: dict[int, tuple[str, Any]] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, (tf.Module, tf.__internal__.tracking.AutoTrackable)) and value is not root:
            if id(value) in found:
                return
            found[id(value)] = (path, value)
        for name, inner in _parts(value):
            walk(inner, f"{path}.{name}" if path else str(name))

    walk(root, "")
    return dict(found.values())


def _parts(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, tf.Module):
        # attributes named so are TensorFlow's own bookkeeping
        return [(name, inner) for name, inner in vars(value).items() if not name.startswith(("_self_", "_tf_"))]
    if isinstance(value, Mapping):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, (list, tuple)) else []
