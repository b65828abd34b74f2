"""JAX by hand: the network in two pieces, each jitted with its parameters as arguments."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from benchmarks.maps.workloads import EPSILON, IMAGE, TARGET, Workload
from benchmarks.speed.on_jax import traces
from tests.zoo.flax_models import build
from tests.zoo.inputs import inputs, to_channels_last
from whence.core.interpolation import resize_matrix

PACKAGES = ("jax", "flax")
Call = Callable[[], object]


class Case:
    """One workload's model and inputs, and the calls to compare."""

    def __init__(self, workload: Workload) -> None:
        self.workload, self.layer = workload, f"stage{workload.stage}"
        self.model = build("resnet", image=IMAGE)
        self.x = jnp.asarray(to_channels_last(inputs("resnet", workload.batch, image=IMAGE)))
        definition, self.state = nnx.split(self.model)

        def front(state: Any, x: Array) -> Array:
            return _front(nnx.merge(definition, state), x, workload.stage)

        def tail(state: Any, a: Array) -> Array:
            return _tail(nnx.merge(definition, state), a, workload.stage)[:, TARGET]

        def grad_cam(state: Any, x: Array) -> Array:
            a = front(state, x)
            g = jax.grad(lambda a: tail(state, a).sum())(a)
            return (g.mean((1, 2), keepdims=True) * a).sum(-1)

        def masked_scores(state: Any, x: Array, maps: Array, resize: Array) -> Array:
            mask = jnp.einsum("Hh,hwk,Ww->kHW", resize, maps, resize)
            mask = mask - mask.min((1, 2), keepdims=True)
            mask = mask / jnp.maximum(mask.max((1, 2), keepdims=True), EPSILON)
            return tail(state, front(state, x * mask[..., None]))

        self._grad_cam, self._front = jax.jit(grad_cam), jax.jit(front)
        self._masked, self._tail = jax.jit(masked_scores), jax.jit(tail)
        self._ablated = jax.jit(lambda state, a, keep: tail(state, a * keep))

    def floors(self) -> dict[str, Call]:
        """The passes by hand, by rows in one batch."""
        if self.workload.method == "grad_cam":
            return {"1": lambda: self._grad_cam(self.state, self.x).block_until_ready()}
        by_hand = {"score_cam": self._score_cam, "ablation_cam": self._ablation_cam}[self.workload.method]
        return {str(rows): partial(by_hand, rows) for rows in self.workload.floor_rows}

    def others(self) -> dict[str, Call]:
        """No other library explains JAX models."""
        return {}

    def executions(self, call: Call) -> int:
        """Traces and compilations while ``call`` runs."""
        return traces(call)

    def _score_cam(self, rows: int) -> Array:
        a = self._front(self.state, self.x)
        resize = jnp.asarray(resize_matrix(a.shape[1], IMAGE, "bilinear"), a.dtype)
        parts = [self._masked(self.state, self.x, a[0, :, :, k : k + rows], resize) for k in _starts(a, rows)]
        return jnp.einsum("k,hwk->hw", jnp.concatenate(parts), a[0])[None].block_until_ready()

    def _ablation_cam(self, rows: int) -> Array:
        a = self._front(self.state, self.x)
        score, keep = self._tail(self.state, a)[0], (1 - np.eye(a.shape[-1], dtype=np.float32))[:, None, None]
        parts = [self._ablated(self.state, a, keep[k : k + rows]) for k in _starts(a, rows)]
        drops = (score - jnp.concatenate(parts)) / jnp.abs(score)
        return jnp.einsum("k,hwk->hw", drops, a[0])[None].block_until_ready()


def _starts(a: Array, rows: int) -> range:
    return range(0, a.shape[-1], rows)


def _front(model: Any, x: Array, stage: int) -> Array:
    x = nnx.relu(model.bn1(model.conv1(x)))
    x = nnx.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
    for i in range(1, stage + 1):
        x = getattr(model, f"stage{i}")(x)
    return x


def _tail(model: Any, x: Array, stage: int) -> Array:
    for i in range(stage + 1, 5):
        x = getattr(model, f"stage{i}")(x)
    return model.head(x.mean(axis=(1, 2)))
