"""EfficientNetB0 of `keras.applications` with fixed random weights, the same on each of Keras' backends."""

from typing import Any

import keras
import numpy as np

IMAGE = 64
LAYERS = ("block3b_add", "block6d_project_conv", "top_activation")
"""From early to late: 8 by 8, 2 by 2 and 2 by 2 places."""
GAIN = 3.0
"""That swish, half of whose mean square is lost, leaves the features as large as it found them."""


class Blank(keras.initializers.Zeros):
    """Stands in for the random initializer, which takes half a minute to compile on JAX, until the weights are set."""

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Blank":
        return cls()


def efficientnet_b0(dtype: str = "float32", seed: int = 0) -> keras.Model:
    """For images [B, 64, 64, 3] in 0 to 255, of ten classes, without a softmax."""
    before = keras.config.dtype_policy(), keras.config.floatx()
    keras.config.set_dtype_policy(dtype)
    keras.config.set_floatx(dtype)  # of the inputs
    try:
        with keras.utils.custom_object_scope({"VarianceScaling": Blank}):
            model = keras.applications.EfficientNetB0(
                weights=None, input_shape=(IMAGE, IMAGE, 3), classes=10, classifier_activation=None
            )
    finally:
        keras.config.set_dtype_policy(before[0])
        keras.config.set_floatx(before[1])
    rng = np.random.Generator(np.random.Philox(seed))
    for layer in model.layers:
        if not isinstance(layer, keras.layers.Normalization):  # it would keep its old statistics on two of the backends
            layer.set_weights([_array(variable.name, tuple(variable.shape), rng) for variable in layer.weights])
    return model


def _array(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    """Kernels that sum to zero over their inputs, as in `weights`, and statistics away from 0 and 1."""
    if "kernel" in name:
        depthwise = shape[-1] == 1 and len(shape) == 4
        inputs = (0, 1) if depthwise else tuple(range(len(shape) - 1))
        kernel = rng.standard_normal(shape)
        kernel -= kernel.mean(axis=inputs, keepdims=True)
        return kernel * np.sqrt(GAIN / np.prod([shape[axis] for axis in inputs]))
    if name in ("gamma", "moving_variance"):
        return rng.uniform(0.8, 1.2, shape)
    return 0.1 * rng.standard_normal(shape)
