"""JAX by hand: one jitted function of parameters and a tile of variants, and a Python loop over tiles."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from benchmarks.perturbation.workloads import BATCH, COLUMNS, HIDDEN, TARGET, Workload
from tests.zoo.flax_models import build
from tests.zoo.inputs import inputs, to_channels_last

PACKAGES = ("jax", "flax")
Call = Callable[[], object]


class Case:
    """One workload's model and inputs, and the calls to compare."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        if workload.image is None:
            rngs, sizes = nnx.Rngs(0), ((COLUMNS, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 2))
            first, second, head = (nnx.Linear(*size, rngs=rngs) for size in sizes)
            self.model = nnx.Sequential(first, nnx.relu, second, nnx.relu, head)
            self.x, mask = jax.random.normal(rngs(), (BATCH, COLUMNS)), workload.mask
        else:
            self.model = build("resnet", image=workload.image)
            self.x = jnp.asarray(to_channels_last(inputs("resnet", 1, image=workload.image)))
            mask = workload.mask[..., None]
        definition, self.state = nnx.split(self.model)

        def tile(state: Any, x: Array, mask: Array, keep: Array) -> Array:
            present = jnp.take(keep, mask.ravel(), axis=1).reshape(len(keep), 1, *mask.shape)
            points = jnp.where(present, x, 0.0)
            outputs = nnx.merge(definition, state)(points.reshape(-1, *x.shape[1:]))
            return outputs[:, TARGET].reshape(len(keep), len(x))

        self.mask, self._tile = jnp.asarray(mask), jax.jit(tile)
        self._outputs = jax.jit(lambda state, x: nnx.merge(definition, state)(x))

    def floor(self, rows: int) -> Call:
        """The scores of all variants by hand, ``rows`` at a time."""
        return partial(self._floor, self.workload.steps(rows, len(self.x)))

    def _floor(self, parts: list[np.ndarray]) -> np.ndarray:
        keep, scores = self.workload.keep, []
        for part in parts:
            padded = np.concatenate(
                [part, np.repeat(part[-1:], len(parts[0]) - len(part), axis=0)]
            )  # one shape to compile
            scores.append(self._tile(self.state, self.x, self.mask, padded)[: len(part)])
        found = np.asarray(jnp.concatenate(scores))
        return np.linalg.lstsq(keep.astype(found.dtype), found)[0] if self.workload.solve else found

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Outputs of rows as arrays."""
        return np.asarray(self._outputs(self.state, rows))

    def others(self) -> dict[str, Call]:
        """No other library perturbs inputs of JAX models but as functions on arrays."""
        return {}
