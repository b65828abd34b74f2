"""TensorFlow on an accelerator."""

from __future__ import annotations

import pytest
import tensorflow as tf

import whence
from tests.device import check_stays
from tests.zoo.inputs import inputs, to_channels_last

pytestmark = [
    pytest.mark.device,
    pytest.mark.skipif(not tf.config.list_physical_devices("GPU"), reason="TensorFlow sees no GPU"),
]


@pytest.mark.parametrize("method", whence.methods())
def test_everything_stays_on_the_device(method: str) -> None:
    from tests.zoo import keras_models

    x = to_channels_last(inputs("digits_cnn", 3))

    def model_at(device: str) -> object:
        with tf.device(device):
            return keras_models.build("digits_cnn")

    def placed(device: str) -> tf.Tensor:
        with tf.device(device):
            return tf.constant(x)

    check_stays(
        method, lambda x: model_at(x.device), placed("CPU:0"), placed("GPU:0"), lambda value: "GPU" in value.device
    )
