"""Keras 3 models on Keras' torch backend; layers are Keras' own, nested ones as paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

from whence.backends.keras_layers import (
    before_activation,
    layer_calls,
    layer_names,
    layout_of,
    require_dtype,
    takes_separately,
)
from whence.backends.torch.model import ModuleModel, inference
from whence.core.layers import LayerCalls
from whence.core.model import Edit
from whence.core.ops import Tensor


class KerasModel(ModuleModel):
    """A Keras model in inference mode, which Keras is told in the call."""

    @property
    def default_layout(self) -> str | None:  # type: ignore[override]
        return layout_of(self.target)

    def layers(self) -> tuple[str, ...]:
        return layer_names(self.target)

    def before_activation(self, layer: str) -> str:
        return before_activation(self.target, layer)

    def run(
        self, inputs: Any, *, edits: Mapping[str, Edit] | None = None, taps: Sequence[str] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        calls = LayerCalls(edits, taps)
        with layer_calls(self.target, calls):
            output = self._call(inputs)
        return output, calls.finish(self.layers() if calls.wanted else ())

    def _arguments(self, inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self.options.unpack is None and isinstance(inputs, (tuple, list, dict)):
            return self.with_options(unpack=takes_separately(self.target, inputs))._arguments(inputs)
        args, kwargs = super()._arguments(inputs)
        return args, {"training": False, **kwargs}

    def check(self, names: Sequence[str], leaves: Sequence[Tensor]) -> None:
        if self.options.preprocess is None:
            require_dtype(self.target, self.ops, names, leaves)

    @contextmanager
    def hold(self) -> Iterator[Self]:
        with inference(self.target, warn=False):
            yield self
