"""The network in Keras, channels last, on the framework that Keras runs on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import numpy as np
from keras import layers

from whence.report.digits_models.weights import (
    CLASSES,
    CONV1,
    CONV2,
    DENSE,
    LEARNING_RATE,
    SHAPES,
    Weights,
    batches,
    from_channels_last,
    to_channels_last,
)


def build(weights: Weights, dtype: str) -> keras.Model:
    """The network with these weights, as a functional model."""
    image = x = keras.Input((8, 8, 1), dtype=dtype, name="image")
    x = layers.Conv2D(CONV1, 3, padding="same", name="conv1", dtype=dtype)(x)
    x = layers.ReLU(name="relu1", dtype=dtype)(x)
    x = layers.Conv2D(CONV2, 3, padding="same", name="conv2", dtype=dtype)(x)
    x = layers.ReLU(name="relu2", dtype=dtype)(x)
    x = layers.MaxPooling2D(2, name="pool", dtype=dtype)(x)
    x = layers.Flatten(name="flatten", dtype=dtype)(x)
    x = layers.Dense(DENSE, name="dense", dtype=dtype)(x)
    x = layers.ReLU(name="relu3", dtype=dtype)(x)
    x = layers.Dense(CLASSES, name="head", dtype=dtype)(x)
    model = keras.Model(image, x, name="digits_net")
    for layer, arrays in to_channels_last(weights).items():
        model.get_layer(layer).set_weights(arrays)
    return model


def train(weights: Weights, images: np.ndarray, labels: np.ndarray) -> Weights:
    """The weights after training."""
    model = build(weights, "float32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(LEARNING_RATE), loss=loss)
    for x, y in batches(images, labels):
        model.train_on_batch(x, y)
    return from_channels_last({layer: model.get_layer(layer).get_weights() for layer in SHAPES})


def scope(dtype: str) -> AbstractContextManager[Any]:
    """On the CPU, where frameworks can be compared."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        device: AbstractContextManager[Any] = tf.device("/CPU:0")
        return device
    return nullcontext()
