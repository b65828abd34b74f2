"""`digits_cnn` as a function of parameters and images, channels last, with its convolution outputs named."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.ad_checkpoint import checkpoint_name

from .jax_arrays import to_jax
from .sizes import size_of
from .weights import channels_last

Params = dict[str, tuple[Array, Array]]


def _conv(params: Params, layer: str, x: Array) -> Array:
    kernel, bias = params[layer]
    outputs = lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return checkpoint_name(outputs + bias, layer)


def _dense(params: Params, layer: str, x: Array) -> Array:
    kernel, bias = params[layer]
    return x @ kernel + bias


def digits_cnn(params: Params, x: Array) -> Array:
    """Two convolutions, named `conv1` and `conv2`, and two dense layers."""
    x = jax.nn.relu(_conv(params, "conv1", x))
    x = jax.nn.relu(_conv(params, "conv2", x))
    x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    x = jax.nn.relu(_dense(params, "dense", x.reshape(x.shape[0], -1)))
    return _dense(params, "head", x)


def build(name: str, dtype: str = "float32", seed: int = 0) -> tuple[Callable[[Params, Array], Array], Params]:
    """The function and its parameters, a kernel and a bias by layer."""
    if name != "digits_cnn":
        raise ValueError(f"no plain function of {name!r}")
    layers = channels_last(size_of(name), seed)
    return digits_cnn, {layer: (to_jax(kernel, dtype), to_jax(bias, dtype)) for layer, (kernel, bias) in layers.items()}
