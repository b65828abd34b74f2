"""Keras 3 models on Keras' torch backend: modules, whose layers are Keras' own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

from whence.backends.keras_layers import layer_calls
from whence.backends.keras_model import KerasAdapter
from whence.backends.torch.inference import inference
from whence.backends.torch.model import ModuleModel
from whence.core.layers import LayerCalls, Within
from whence.core.model import Edit
from whence.core.ops import Tensor


class KerasModel(KerasAdapter, ModuleModel):  # type: ignore[misc]
    """A Keras model as a module."""

    def run(
        self, inputs: Any, *, edits: Mapping[str, Edit] | None = None, taps: Sequence[str] = (),
        within: Within | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
        calls = LayerCalls(edits, taps, within)
        with layer_calls(self.target, calls):
            output = self._call(inputs)
        return output, calls.finish(self.layers)

    @contextmanager
    def hold(self) -> Iterator[Self]:
        # a module lists no parameters of models nested in it
        with inference(self.target, warn=False, parameters=[v.value for v in self.target.variables]):
            yield self
