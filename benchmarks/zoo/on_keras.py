"""Networks of ``keras.applications``, with random weights, on the runtime of Keras that the process is for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

import numpy as np

from benchmarks.zoo.nets import Architecture, Net

RUNTIME = os.environ["KERAS_BACKEND"]
if RUNTIME == "jax":
    import jax

    jax.config.update("jax_enable_x64", True)
elif RUNTIME == "torch":
    import torch

    from benchmarks.zoo.weights import is_narrow

    torch.set_num_threads(1)

import keras  # noqa: E402 - what a runtime is set to is read when it is first used

TITLE = f"Keras on {RUNTIME}"
PACKAGES = ("keras", RUNTIME)
BATCH, CLASSES, SPREAD = 2, 10, 0.1
SIZES = {
    "ConvNeXtTiny": 32, "DenseNet121": 32, "EfficientNetB0": 64, "EfficientNetV2B0": 32, "InceptionResNetV2": 75,
    "InceptionV3": 75, "MobileNet": 64, "MobileNetV2": 64, "MobileNetV3Small": 64, "NASNetMobile": 32, "ResNet50": 64,
    "ResNet50V2": 64, "VGG16": 32, "Xception": 71,
}  # fmt: skip
"""The smallest of each family, by name: the image's size."""
ON_JAX = ("EfficientNetV2B0", "MobileNet", "MobileNetV2", "ResNet50", "VGG16")
"""Those that JAX compiles within a minute or two; Keras' code is that of the other runtimes."""


def architectures() -> Iterator[Architecture]:
    """One network of each family."""
    keras.config.set_floatx("float64")
    for name in ON_JAX if RUNTIME == "jax" else SIZES:
        yield Architecture(name, "keras.applications", partial(_of_images, name, SIZES[name]))


def _of_images(name: str, size: int) -> Net:
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(
        weights=None, classes=CLASSES, input_shape=(size, size, 3), classifier_activation=None
    )
    x = np.random.default_rng(0).normal(size=(BATCH, size, size, 3))
    _draw(model, x)
    return Net(model, x, model.count_params(), _is_narrow(model, x))


def _is_narrow(model: keras.Model, x: np.ndarray) -> bool:
    """Whether Keras goes through float32, as its global average pooling on JAX does."""
    match RUNTIME:
        case "jax":
            return "f32[" in str(jax.make_jaxpr(model)(x))
        case "torch":
            return is_narrow(model, torch.from_numpy(x))
        case _:
            return False


def _draw(model: keras.Model, x: np.ndarray) -> None:
    """Biases and scales at random, and statistics of batch normalisation from a batch."""
    rng = np.random.default_rng(1)
    for weight in model.trainable_weights:
        if len(weight.shape) <= 1:
            weight.assign(weight + SPREAD * rng.normal(size=weight.shape))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(x, training=True)
