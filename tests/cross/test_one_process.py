"""Three frameworks in one process, as in a port that is being checked; PyTorch is imported first (see the docs)."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import tensorflow as tf
import torch

import whence
from tests.agreement import difference
from tests.zoo.inputs import inputs, to_channels_last

x = inputs("digits_cnn", 4, seed=1)


def attributions(method: whence.Method) -> dict[str, np.ndarray]:
    from tests.zoo import flax_models, keras_models, torch_models

    last = to_channels_last(x)
    found = {
        "torch": method.explain(torch_models.build("digits_cnn"), torch.from_numpy(x), 3).attributions.numpy(),
        "flax": np.asarray(method.explain(flax_models.build("digits_cnn"), jnp.asarray(last), 3).attributions),
        "keras": method.explain(keras_models.build("digits_cnn"), tf.constant(last), 3).attributions.numpy(),
    }
    return {name: a if name == "torch" else np.moveaxis(a, -1, 1) for name, a in found.items()}


def test_the_same_method_object_explains_three_frameworks() -> None:
    found = attributions(whence.IntegratedGradients(rule="gauss_legendre"))
    assert difference(found["torch"], found["flax"]) < 1e-5
    assert difference(found["torch"], found["keras"]) < 1e-5


def test_noise_is_the_same_everywhere() -> None:
    found = attributions(whence.SmoothGrad(seed=7, n_samples=5))
    assert difference(found["torch"], found["flax"]) < 1e-5
    assert difference(found["torch"], found["keras"]) < 1e-5


def test_guided_backprop_times_a_map() -> None:
    found = attributions(whence.GuidedGradCAM(layer="conv2"))
    assert difference(found["torch"], found["flax"]) < 1e-5
    assert difference(found["torch"], found["keras"]) < 1e-5
