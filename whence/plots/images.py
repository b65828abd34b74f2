"""Arrays as pictures: which axes are rows, columns and channels, and how channels become one map. NumPy only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from whence.core.errors import ParameterError
from whence.core.explanation import Explanation
from whence.core.layout import Layout
from whence.core.tree import flatten
from whence.core.validation import one_of

GREY = "NHW"
"""Images without an axis of channels, understood by pictures only."""

REDUCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "sum": lambda v: v.sum(axis=-1),
    "mean": lambda v: v.mean(axis=-1),
    "absolute_sum": lambda v: np.abs(v).sum(axis=-1),
    "strongest": lambda v: np.take_along_axis(v, np.abs(v).argmax(axis=-1)[..., None], axis=-1)[..., 0],
}
"""From ``[..., C]`` to ``[...]``; ``"strongest"`` keeps the channel of the largest absolute value, with its sign."""


def channels_last(values: np.ndarray, layout: str | None, what: str) -> np.ndarray:
    """Images ``[B, H, W, C]`` of ``values`` in ``layout``; raises ParameterError where the axes are not known."""
    if layout == GREY and values.ndim == 3:
        return values[..., None]
    found = Layout() if layout == GREY else Layout.find(layout, values.ndim, declared=True)
    if found.channel is None or len(found.spatial) != 2:
        known = "no known layout" if layout is None else f"layout {layout}"
        raise ParameterError(
            f"a picture of {what}",
            received=f"shape {values.shape} and {known}",
            valid='images, their axes named by layout="NCHW", "NHWC" or "NHW" (no channels)',
        )
    return np.moveaxis(values, found.channel, -1)


def reduced(values: np.ndarray, channels: str) -> np.ndarray:
    """Maps ``[B, H, W]`` of values ``[B, H, W, C]``."""
    one_of("channels", channels, REDUCTIONS)
    return REDUCTIONS[channels](np.asarray(values, np.float64))


def grey(images: np.ndarray) -> np.ndarray:
    """Each image ``[B, H, W, C]`` as a mean over channels between 0 and 1, stretched where it lies outside."""
    return np.stack([_unit(image) for image in images.mean(axis=-1, dtype=np.float64)])


def shown(images: np.ndarray) -> np.ndarray:
    """Each image as matplotlib shows it: ``[B, H, W, 3]`` in colour, ``[B, H, W]`` in grey, between 0 and 1."""
    colour = images.shape[-1] == 3
    return np.stack([_unit(np.asarray(image, np.float64)) for image in images]) if colour else grey(images)


def _unit(image: np.ndarray) -> np.ndarray:
    low, high = float(image.min()), float(image.max())
    if low >= 0 and high <= 1:
        return image
    return (image - low) / ((high - low) or 1.0)


def chosen_input(explanation: Explanation, key: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """The attributions to draw and the images behind them, of an explanation of NumPy arrays.

    ``key`` picks one of several inputs. Images are None where the inputs were not kept.
    """
    leaves, structure = flatten(explanation.attributions)
    at_layer = explanation.view == "map" or explanation.params.get("layer") is not None
    images = () if explanation.inputs is None else flatten(explanation.inputs)[0]
    keys = structure.keys or (None,)
    drawable = [k for k, leaf in zip(keys, leaves, strict=True) if leaf is not None]
    if at_layer:
        several = flatten(explanation.inputs)[1].keys if images else ()
        position = several.index(key) if key in several else 0
        return leaves[0], images[position] if images else None
    if key is None and len(drawable) == 1:
        key = drawable[0]
    if key not in drawable:
        raise ParameterError(
            "input to draw",
            received=repr(key),
            valid="one of " + ", ".join(map(repr, drawable)) + " as input=...",
        )
    position = keys.index(key)
    return leaves[position], images[position] if images else None
