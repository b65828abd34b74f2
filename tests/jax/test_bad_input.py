"""What users get wrong with JAX models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx

from tests.bad_input import CLASSES, FEATURES, BadInput


class Net(nnx.Module):
    def __init__(self, on_call: Callable[[], None], dropout: float = 0.0) -> None:
        rngs = nnx.Rngs(0)
        self.hidden, self.drop = nnx.Linear(FEATURES, 8, rngs=rngs), nnx.Dropout(dropout, rngs=rngs)
        self.head = nnx.Linear(8, CLASSES, rngs=rngs)
        self.on_call = on_call

    def __call__(self, x: jax.Array) -> jax.Array:
        hidden = self.drop(nnx.relu(self.hidden(x)))
        self.on_call()
        return self.head(hidden)


class TestBadInput(BadInput):
    framework = "jax"
    layer = "hidden"
    interrupted_at = (1, 2)

    def net(self, on_call: Callable[[], None] = lambda: None) -> Net:
        net = Net(on_call)
        net.eval()
        return net

    def in_training(self) -> Net:
        net = Net(lambda: None, dropout=0.5)
        net.train()
        return net

    def state(self, model: Net) -> Any:
        _, state = nnx.split(model)
        arrays = {str(path): np.asarray(jax.random.key_data(v) if jax.dtypes.issubdtype(v.dtype, jax.dtypes.prng_key)
                                        else v).tobytes()
                  for path, v in jax.tree_util.tree_leaves_with_path(state)}  # fmt: skip
        return arrays, sorted(vars(model)), type(model), model.drop.deterministic, jax.config.jax_enable_x64
