"""The networks in TensorFlow and Keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from tensorflow import nn

import whence

from . import weights

Tensor = Any
Fn = Callable[[Tensor], Tensor]


def _norm(x: Tensor) -> Tensor:
    mean, variance = nn.moments(x, [-1], keepdims=True)
    return nn.batch_normalization(x, mean, variance, None, None, 1e-3)


OPERATIONS: dict[str, Fn] = {
    "relu": nn.relu, "relu in place": keras.activations.relu, "leaky_relu": lambda x: nn.leaky_relu(x, 0.2),
    "relu6": nn.relu6, "elu": nn.elu, "selu": nn.selu, "celu": keras.activations.celu, "sigmoid": tf.sigmoid,
    "tanh": tf.tanh, "softplus": nn.softplus, "softsign": nn.softsign, "silu": nn.silu,
    "x * sigmoid(x)": lambda x: x * tf.sigmoid(x), "gelu": lambda x: 0.5 * x * tf.math.erfc(-x * 0.5**0.5),
    "gelu, tanh": lambda x: nn.gelu(x, approximate=True), "hard_swish": lambda x: x * nn.relu6(x + 3) / 6,
    "mish": keras.activations.mish, "hard_sigmoid": lambda x: nn.relu6(x + 3) / 6,
    "log_sigmoid": keras.activations.log_sigmoid, "exp": tf.exp, "log": lambda x: tf.math.log(x * x + 1),
    "sqrt": lambda x: tf.sqrt(x * x + 1), "rsqrt": lambda x: tf.math.rsqrt(x * x + 1), "power": lambda x: x**3,
    "abs": tf.abs, "clip": lambda x: tf.clip_by_value(x, -0.4, 0.5), "erf": tf.math.erf,
    "where": lambda x: tf.where(x > 0.1, x, x * x), "x * (x > 0)": lambda x: x * tf.cast(x > 0, x.dtype),
    "softmax": nn.softmax, "log_softmax": nn.log_softmax,
    "logsumexp": lambda x: x + tf.reduce_logsumexp(x, -1, keepdims=True),
    "max": lambda x: x + tf.reduce_max(x, -1, keepdims=True), "maximum": lambda x: tf.maximum(x, -2 * x[:, ::-1]),
    "minimum": lambda x: tf.minimum(x, x[:, ::-1]), "mul": lambda x: x * x[:, ::-1],
    "div": lambda x: x / (1 + x[:, ::-1] ** 2),
    "matmul": lambda x: tf.reduce_mean(x[:, :, None] @ x[:, None, :], -1),
    "layer_norm": _norm, "rms_norm": lambda x: x * tf.math.rsqrt(tf.reduce_mean(x**2, -1, keepdims=True) + 1e-3),
    "group_norm": lambda x: tf.reshape(_norm(tf.reshape(x, (-1, 2, 4))), x.shape),
    "std": lambda x: x / tf.math.reduce_std(x, -1, keepdims=True), "glu": lambda x: x * tf.sigmoid(x[:, ::-1]),
    "max_pool": lambda x: tf.tile(nn.max_pool1d(x[:, :, None], 3, 2, "VALID")[:, :, 0], (1, 3))[:, :8],
    "cumulative product": lambda x: tf.math.cumprod(x, -1),
    "concat, split, gather": lambda x: tf.gather(
        tf.concat([tf.tanh(p) for p in tf.split(x, 4, -1)], -1), [3, 1, 1, 0, 4, 5, 7, 6], axis=1
    ),
}  # fmt: skip


def _cast(arrays: dict[str, weights.Array], dtype: str) -> dict[str, Tensor]:
    return {name: tf.constant(a, dtype) for name, a in arrays.items()}


def mlp(operation: str, dtype: str) -> Any:
    """The network around one operation."""
    w, act = _cast(weights.mlp(), dtype), OPERATIONS[operation]
    return whence.wrap(lambda x: act(x @ w["w1"] + w["b1"]) @ w["w2"] + w["b2"], framework="tensorflow")


def mobile(dtype: str) -> Any:
    """As ``torch_nets.Mobile``."""
    w = _cast(weights.mobile(), dtype)

    def model(x: Tensor) -> Tensor:
        x = nn.conv2d(x, w["stem"], 1, "VALID")
        zeros, ones = tf.zeros_like(w["factor"]), tf.ones_like(w["factor"])
        x = nn.batch_normalization(x, zeros, ones, w["offset"], w["factor"], 0.0)
        x = x * nn.relu6(x + 3) / 6
        h = nn.silu(nn.depthwise_conv2d(x, w["depthwise"], (1, 1, 1, 1), "SAME"))
        s = nn.relu(tf.reduce_mean(h, (1, 2)) @ w["squeeze"] + w["squeeze_b"])
        s = tf.sigmoid(s @ w["excite"] + w["excite_b"])
        x = x + nn.conv2d(h * s[:, None, None], w["point"], 1, "VALID")
        return tf.reduce_mean(nn.relu(x), (1, 2)) @ w["head"]

    return whence.wrap(model, framework="tensorflow")


def lstm(dtype: str) -> Any:
    """Keras' layer."""
    keras.backend.set_floatx(dtype)
    cell = keras.layers.LSTM(5, use_cudnn=False)
    model = keras.Sequential([keras.layers.Input((6, 4)), cell, keras.layers.Dense(weights.CLASSES, use_bias=False)])
    w = weights.lstm()
    model.set_weights([w["input"], w["state"], w["bias"], w["head"]])
    keras.backend.set_floatx("float32")
    return model


def attention(dtype: str) -> Any:
    """As ``torch_nets.Attention``."""
    w = _cast(weights.attention(), dtype)

    def model(x: Tensor) -> Tensor:
        e = x @ w["embed"] + w["position"]
        n = _norm(e)
        q, k, v = n @ w["query"], n @ w["key"], n @ w["value"]
        e = e + nn.softmax(tf.matmul(q, k, transpose_b=True) / 6**0.5) @ v @ w["out"]
        h = (_norm(e) * w["factor"] + w["offset"]) @ w["up"] + w["up_b"]
        e = e + OPERATIONS["gelu"](h) @ w["down"]
        return tf.reduce_mean(e, 1) @ w["head"]

    return whence.wrap(model, framework="tensorflow")


MODELS: dict[str, Callable[[str], Any]] = {"mobile": mobile, "lstm": lstm, "attention": attention}


def tensor(array: weights.Array, dtype: str) -> Tensor:
    """An input."""
    return tf.constant(array, dtype)
