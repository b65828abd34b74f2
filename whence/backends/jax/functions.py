"""Plain functions: ``fn(x)``, and ``fn(params, x)`` with ``whence.wrap(fn, variables=params)``."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from whence.backends.jax.captured import captured
from whence.backends.jax.model import Args, JaxModel, Kwargs
from whence.backends.jax.static import Static
from whence.core.layers import LayerCalls


class FunctionModel(JaxModel):
    """A function on JAX arrays, compiled or not; layers are what it names with ``jax.ad_checkpoint.checkpoint_name``.

    Names are known once the function has run with a tap or an edit.
    """

    @property
    def key(self) -> Hashable:
        return captured(self.target)

    def describe(self) -> str:
        return f"function {getattr(self.target, '__qualname__', type(self.target).__name__)}"

    def layers(self) -> tuple[str, ...]:
        return tuple(self._seen)

    @property
    def _seen(self) -> dict[str, None]:
        seen: dict[str, None] = self.store.get("layers seen", dict)
        return seen

    def layer_of(self, name: str) -> str:
        self._seen[name] = None
        return name

    def read_state(self) -> tuple[Static, Any]:
        return Static.split(self.options.variables)

    def call(self, static: Static, arrays: Any, args: Args, kwargs: Kwargs, calls: LayerCalls) -> Any:
        if self.options.variables is None:
            return self.target(*args, **kwargs)
        return self.target(static.join(arrays), *args, **kwargs)
