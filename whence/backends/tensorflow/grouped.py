"""Grouped convolutions as others: on a CPU TensorFlow runs them, but has no derivative of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from whence.core.ops import Tensor


def is_grouped(operation: Any) -> bool:
    """Whether each filter of a convolution reads some of the channels only."""
    if operation.type != "Conv2D":
        return False
    channels, read = operation.inputs[0].shape[_channel_axis(operation)], operation.inputs[1].shape[2]
    return channels is not None and read is not None and channels != read


def ungrouped(operation: Any, inputs: Sequence[Tensor]) -> Tensor:
    """What the convolution gives: by a depthwise one where every channel is a group, else group by group."""
    x, kernel = inputs
    axis, given = _channel_axis(operation), _attributes(operation)
    rows, columns, read, filters = kernel.shape
    groups = x.shape[axis] // read
    (down, right), dilated = _spatial(given["strides"], axis), max(given["dilations"]) > 1
    if read == 1 and down == right and not dilated:
        by_channel = tf.reshape(kernel, (rows, columns, groups, filters // groups))
        return tf.raw_ops.DepthwiseConv2dNative(input=x, filter=by_channel, **given)
    pieces = zip(tf.split(x, groups, axis), tf.split(kernel, groups, 3), strict=True)
    return tf.concat([tf.raw_ops.Conv2D(input=part, filter=own, **given) for part, own in pieces], axis)


def _channel_axis(operation: Any) -> int:
    return 1 if operation.get_attr("data_format") == b"NCHW" else 3


def _spatial(sizes: Sequence[int], channel: int) -> list[int]:
    return [size for axis, size in enumerate(sizes) if axis not in (0, channel)]


def _attributes(operation: Any) -> dict[str, Any]:
    names = ("strides", "padding", "explicit_paddings", "data_format", "dilations")
    found = {name: operation.get_attr(name) for name in names}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}
