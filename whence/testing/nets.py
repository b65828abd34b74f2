"""Little models written with ``ops``, the same function in every framework."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
from einops import rearrange

from whence.core.backend import Backend
from whence.core.layers import LayerCalls
from whence.core.model import Edit, Leaf, Model, Options
from whence.core.ops import Ops, Tensor
from whence.testing.cases import values

CLASSES = 3


def flat(x: Tensor) -> Tensor:
    """``[B, ...]`` as ``[B, features]``."""
    return rearrange(x, "b ... -> b (...)")


class Weights:
    """Weights of a little network as native tensors of one element type, by their shape."""

    def __init__(self, ops: Ops, dtype: str) -> None:
        self.ops, self.dtype = ops, dtype
        self.made: dict[tuple[int, int], Tensor] = {}

    def __call__(self, rows: int, columns: int) -> Tensor:
        """Normal values ``[rows, columns]`` with a variance of 1 / rows."""
        if (rows, columns) not in self.made:
            host = values(rows, columns, seed=11) / np.sqrt(rows)
            self.made[rows, columns] = self.ops.asarray(host, dtype=self.dtype)
        return self.made[rows, columns]


def network(ops: Ops, weights: Weights, x: Tensor) -> Tensor:
    """affine, relu, affine, tanh, affine: outputs ``[B, 3]`` of ``[B, features]``."""
    hidden = ops.matmul(x, weights(ops.shape(x)[1], 8)) + 0.1
    hidden = ops.tanh(ops.matmul(ops.maximum(hidden, ops.zeros_like(hidden)), weights(8, 7)) - 0.1)
    return ops.matmul(hidden, weights(7, CLASSES))


def classifier(ops: Ops, dtype: str, shape: Sequence[int]) -> Callable[[Tensor], Tensor]:
    """The network as a plain function of inputs ``[B, *shape]``."""
    weights = _ready(ops, dtype, int(np.prod(shape)))
    return lambda x: network(ops, weights, flat(x))


def two_inputs(ops: Ops, dtype: str, shape: Sequence[int]) -> Callable[[Tensor, Tensor], Tensor]:
    """The network as a function of two inputs ``first`` and ``second``, whole numbers cast."""
    weights = _ready(ops, dtype, 2 * int(np.prod(shape)))

    def model(first: Tensor, second: Tensor) -> Tensor:
        return network(ops, weights, ops.concat([flat(first), ops.astype(flat(second), dtype)], axis=1))

    return model


def _ready(ops: Ops, dtype: str, features: int) -> Weights:
    """Weights made before anything is traced."""
    weights = Weights(ops, dtype)
    network(ops, weights, ops.asarray(np.zeros((1, features)), dtype=dtype))
    return weights


def linear(ops: Ops, dtype: str, shape: Sequence[int]) -> tuple[Callable[[Tensor], Tensor], np.ndarray]:
    """A single output ``[B]``, linear in the features, of which every second has no weight; and the weights."""
    host = np.array(values(int(np.prod(shape)), 1, seed=12))
    host[::2] = 0
    native = ops.asarray(host, dtype=dtype)
    return lambda x: ops.matmul(flat(x), native)[:, 0] + 0.5, host.reshape(shape)


class LayeredModel(Model):
    """A model with layers whose call, layers and edits are written with ``ops``: ``body(ops, layer, x)``.

    ``body`` calls ``layer(name, value)`` on what each layer gives and goes on with what comes back.
    """

    def __init__(
        self, backend: Backend, body: Callable[..., Tensor], names: Sequence[str], layout: str | None = None
    ) -> None:
        self.base = backend.adapt(body, None)
        super().__init__(body, Options(layout=layout))
        self.ops, self.differentiable, self.names = backend.ops, self.base.differentiable, tuple(names)

    def run(
        self, inputs: Any, *, edits: Mapping[str, Edit] | None = None, taps: Sequence[str] = ()
    ) -> tuple[Tensor, dict[str, Tensor]]:
        calls = LayerCalls(edits, taps)
        args, kwargs = self._arguments(inputs)
        output = self.target(self.ops, calls, *args, **kwargs)
        return output, calls.finish(lambda: self.names)

    def layers(self) -> tuple[str, ...]:
        return self.names

    def place(self, value: Any) -> Tensor:
        return self.base.place(value)

    def _build(self, leaf: Leaf) -> Callable[..., Any]:
        return self.base._build(lambda run, *tensors: leaf(self.run, *tensors))

    @contextmanager
    def hold(self) -> Iterator[Self]:
        with self.base.hold():
            yield self

    def describe(self) -> str:
        return f"{self.ops.name} little network"


def layered(backend: Backend, dtype: str, shape: Sequence[int], layout: str | None) -> LayeredModel:
    """The network with the layers ``features``, shaped like the input, and ``head``."""
    ops, features = backend.ops, int(np.prod(shape))
    weights = _ready(ops, dtype, features)
    mixing = ops.asarray(values(features, features, seed=13) / np.sqrt(features), dtype=dtype)

    def body(ops: Ops, layer: LayerCalls, x: Tensor) -> Tensor:
        mixed = ops.tanh(ops.matmul(flat(x), mixing))
        mixed = layer("features", _shaped(mixed, ops.shape(x)))
        return layer("head", network(ops, weights, flat(mixed)))

    return LayeredModel(backend, body, ("features", "head"), layout)


def _shaped(x: Tensor, shape: Sequence[int]) -> Tensor:
    """``[B, features]`` as ``[B, ...]``."""
    names = [f"a{i}" for i in range(1, len(shape))]
    sizes = dict(zip(names, shape[1:], strict=True))
    return rearrange(x, f"b ({' '.join(names)}) -> b {' '.join(names)}", **sizes)
