"""The network in Flax NNX, channels last."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from whence.report.digits_models.weights import (
    CLASSES,
    CONV1,
    CONV2,
    DENSE,
    LEARNING_RATE,
    POOLED,
    SHAPES,
    Weights,
    batches,
    from_channels_last,
    to_channels_last,
)


class DigitsNet(nnx.Module):
    """Two convolutions and two dense layers."""

    def __init__(self, dtype: str) -> None:
        rngs = nnx.Rngs(0)
        self.conv1 = nnx.Conv(1, CONV1, (3, 3), param_dtype=dtype, rngs=rngs)
        self.conv2 = nnx.Conv(CONV1, CONV2, (3, 3), param_dtype=dtype, rngs=rngs)
        self.dense = nnx.Linear(int(np.prod(POOLED)), DENSE, param_dtype=dtype, rngs=rngs)
        self.head = nnx.Linear(DENSE, CLASSES, param_dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.conv1(x))
        x = nnx.relu(self.conv2(x))
        x = nnx.max_pool(x, (2, 2), (2, 2))
        x = nnx.relu(self.dense(x.reshape(x.shape[0], -1)))
        return self.head(x)


def build(weights: Weights, dtype: str) -> nnx.Module:
    """The network with these weights."""
    model = DigitsNet(dtype)
    for name, (kernel, bias) in to_channels_last(weights).items():
        layer = getattr(model, name)
        layer.kernel.value, layer.bias.value = jnp.asarray(kernel, dtype), jnp.asarray(bias, dtype)
    return model


def train(weights: Weights, images: np.ndarray, labels: np.ndarray) -> Weights:
    """The weights after training."""
    graph, state = nnx.split(build(weights, "float32"))
    optimizer = optax.adam(LEARNING_RATE)

    def loss(state: nnx.State, x: jax.Array, y: jax.Array) -> jax.Array:
        logits = nnx.merge(graph, state)(x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    @jax.jit
    def step(state: nnx.State, moments: optax.OptState, x: jax.Array, y: jax.Array) -> tuple[nnx.State, optax.OptState]:
        updates, moments = optimizer.update(jax.grad(loss)(state, x, y), moments)
        return optax.apply_updates(state, updates), moments

    moments = optimizer.init(state)
    for x, y in batches(images, labels):
        state, moments = step(state, moments, x, y)
    model = nnx.merge(graph, state)
    trained = {name: getattr(model, name) for name in SHAPES}
    return from_channels_last(
        {name: [np.asarray(layer.kernel.value), np.asarray(layer.bias.value)] for name, layer in trained.items()}
    )


@contextmanager
def scope(dtype: str) -> Iterator[None]:
    """On the CPU, with 64 bits where they are asked for: both for this thread only, while it lasts."""
    # newer releases have it in jax itself, older ones in jax.experimental
    enable_x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64
    with jax.default_device(jax.devices("cpu")[0]), enable_x64(dtype == "float64"):
        yield
