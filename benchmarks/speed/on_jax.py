"""JAX by hand: one jitted function of parameters and a tile of points, and a Python loop over tiles."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from benchmarks.speed.workloads import Workload
from tests.zoo.flax_models import build
from tests.zoo.inputs import inputs, to_channels_last

PACKAGES = ("jax", "flax")
Call = Callable[[], object]


class Case:
    """One workload's model and inputs, and the calls to compare."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.model, self.x = _mlp(workload) if workload.network == "mlp" else _zoo(workload)
        self.target = np.arange(workload.batch) % 2
        self.values = self.model.embedding(self.x) if workload.layer else self.x
        definition, self.state = nnx.split(self.model)
        score = partial(_score, definition, _text if workload.layer else _whole)
        self._scores = jax.jit(lambda state, x, index: score(state, x, index)[1])
        self._gradient = jax.jit(jax.grad(lambda x, state, index: score(state, x, index)[0]))
        self._path_tile = jax.jit(partial(_path_tile, score))
        self._noisy_tile = jax.jit(partial(_noisy_tile, score), static_argnames="points")

    def floors(self) -> dict[str, Call]:
        """The gradients by hand, by the number of points in one batch."""
        if self.workload.method == "saliency":
            return {"1": lambda: self._gradient(self.values, self.state, self.target).block_until_ready()}
        compute = {"integrated_gradients": self._path, "smooth_grad": self._noisy}[self.workload.method]
        return {str(points): partial(compute, points) for points in self.workload.tiles}

    def forward_pass(self) -> None:
        """One forward pass, at a baseline."""
        self._scores(self.state, jnp.zeros_like(self.values), self.target).block_until_ready()

    def others(self) -> dict[str, Call]:
        """No other library differentiates JAX models."""
        return {}

    def by_rules(self, method: str) -> dict[str, Call]:
        """No other library has backward rules for JAX models."""
        return {}

    def executions(self, call: Call) -> int:
        """Traces and compilations while ``call`` runs."""
        return traces(call)

    def _path(self, points: int) -> Array:
        steps, total = self.workload.points, jnp.zeros_like(self.values)
        alphas = ((np.arange(steps) + 0.5) / steps).astype(np.float32)
        for start in range(0, steps, points):
            total = self._path_tile(self.state, total, self.values, alphas[start : start + points], self.target)
        return (self.values * total / steps).block_until_ready()

    def _noisy(self, points: int) -> Array:
        samples, total, key = self.workload.points, jnp.zeros_like(self.values), jax.random.key(0)
        for start in range(0, samples, points):
            count, key = min(points, samples - start), jax.random.fold_in(key, start)
            total = self._noisy_tile(self.state, total, self.values, key, self.target, points=count)
        return (total / samples).block_until_ready()


def traces(call: Call) -> int:
    """Traces and compilations while ``call`` runs."""
    counted: list[str] = []

    def listen(event: str, _seconds: float, **_: object) -> None:
        if "trace" in event or "compile" in event:
            counted.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        call()
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    return len(counted)


def _score(definition: Any, forward: Any, state: Any, x: Array, index: Array) -> tuple[Array, Array]:
    """Sum of the scores, and the scores ``[rows]``."""
    output = forward(nnx.merge(definition, state), x)
    scores = jnp.take_along_axis(output, jnp.tile(index, len(x) // len(index))[:, None], axis=1)[:, 0]
    return scores.sum(), scores


def _whole(model: Any, x: Array) -> Array:
    return model(x)


def _text(model: Any, embedded: Array) -> Array:
    return model.head(nnx.relu(model.conv1(embedded)).max(axis=1))


def _sum_of_gradients(score: Any, state: Any, points: Array, index: Array) -> Array:
    rows = points.reshape(-1, *points.shape[2:])
    return jax.grad(lambda x: score(state, x, index)[0])(rows).reshape(points.shape).sum(0)


def _path_tile(score: Any, state: Any, total: Array, x: Array, alpha: Array, index: Array) -> Array:
    return total + _sum_of_gradients(score, state, alpha.reshape(-1, *[1] * x.ndim) * x, index)


def _noisy_tile(score: Any, state: Any, total: Array, x: Array, key: Array, index: Array, *, points: int) -> Array:
    scale = 0.1 * (x.max((1, 2, 3), keepdims=True) - x.min((1, 2, 3), keepdims=True))
    return total + _sum_of_gradients(score, state, x + scale * jax.random.normal(key, (points, *x.shape)), index)


def _zoo(workload: Workload) -> tuple[nnx.Module, Array]:
    model = build(workload.network, **workload.options)
    return model, jnp.asarray(to_channels_last(inputs(workload.network, workload.batch, **workload.options)))


def _mlp(workload: Workload) -> tuple[nnx.Module, Array]:
    rngs = nnx.Rngs(0)
    first, second, head = (nnx.Linear(*size, rngs=rngs) for size in ((30, 64), (64, 64), (64, 2)))
    return nnx.Sequential(first, nnx.relu, second, nnx.relu, head), jax.random.normal(rngs(), (workload.batch, 30))
