"""A row per sample: the image, the map of its attributions, and the map over the grey image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.core.errors import ParameterError
from whence.core.explanation import Explanation
from whence.plots.channels import channel_grids
from whence.plots.heatmap import HeatMap
from whence.plots.images import GREY, channels_last, chosen_input, grey, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE = 2.2
"""Inches of a picture."""


def plot(
    explanation: Explanation, *, layout: str | None = None, samples: int | Sequence[int] | None = None,
    input: Any = None, **heat_map: Any,
) -> Figure:  # fmt: skip
    """Draw image attributions, one row per sample: the image, the signed map, the map over the grey image.

    Activations are drawn as a grid of channels for each layer and sample; class activation maps at their own
    resolution, and stretched over the image.

    ``layout``: ``"NCHW"``, ``"NHWC"`` or ``"NHW"``, where the explanation does not know it. ``samples``: positions in
    the batch, the first eight if None. ``input``: which of several inputs. Others, ``percentile``, ``channels``,
    ``cmap`` and ``alpha``, are those of ``HeatMap``. Attributions of a layer are drawn at the layer's own resolution.
    Returns a matplotlib figure that belongs to no window. Raises ParameterError where the layout is not known.
    """
    from matplotlib.figure import Figure

    style = HeatMap(**heat_map)
    plain = explanation.numpy()
    known = layout or plain.provenance.layout
    if plain.view == "activations":
        return channel_grids(plain, known, _positions(samples, len(next(iter(plain.attributions.values())))))
    values, images = chosen_input(plain, input)
    layer = plain.params.get("layer")
    where = "the attributions" if layer is None else f"the attributions of layer {layer!r}"
    # "NHW" says of a layer nothing: its channels stand where the framework has them
    maps = style.maps(channels_last(values, GREY if plain.view == "map" else known, where))
    pictures = None if images is None else channels_last(images, known, "the inputs")
    rows = _positions(samples, len(maps))
    columns = 1 if pictures is None else 3
    figure = Figure(figsize=(SIDE * columns + 0.6, (SIDE + 0.35) * len(rows) + 0.3), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, sample in zip(axes, rows, strict=True):
        heat = line[columns // 2]
        limit = style.limit(maps[sample])
        drawn = heat.imshow(maps[sample], cmap=style.colour_map, vmin=-limit, vmax=limit, interpolation="nearest")
        bar = figure.colorbar(drawn, ax=heat, shrink=0.8, ticks=[-limit, 0, limit])
        bar.ax.set_yticklabels([f"{-limit:.2g}", "0", f"{limit:.2g}"], fontsize=7)
        bar.outline.set_visible(False)
        if pictures is not None:
            _image(line[0], shown(pictures[[sample]])[0])
            _over(line[2], grey(pictures[[sample]])[0], style.overlay(maps[sample], limit))
        line[0].set_title(_title(plain, sample), loc="left", fontsize=9)
    heading = "attributions" if layer is None else f"attributions of {layer}"
    if plain.view == "map":
        taken = plain.provenance.notes["layers"]
        heading = f"{plain.method} at {', '.join(taken)}" if len(taken) < 3 else plain.method
    names = [heading] if pictures is None else ["image", heading, "over the image"]
    for axis, name in zip(axes[-1], names, strict=True):
        axis.set_xlabel(name, fontsize=8, color="0.4")
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    return figure


def _positions(samples: int | Sequence[int] | None, batch: int) -> list[int]:
    if samples is None:
        return list(range(min(batch, 8)))
    rows = [int(s) for s in np.atleast_1d(np.asarray(samples))]
    if not rows or any(not 0 <= row < batch for row in rows):
        raise ParameterError("samples", received=repr(samples), valid=f"positions in the batch, from 0 to {batch - 1}")
    return rows


def _title(explanation: Explanation, sample: int) -> str:
    """``sample 3: target 7, score 12.4``."""
    target = explanation.target
    index = [] if target is None else [int(i) for i in np.atleast_1d(target[sample])]
    named = f"target {index[0] if len(index) == 1 else tuple(index)}, " if index else ""
    return f"sample {sample}: {named}score {float(explanation.score[sample]):.4g}"


def _image(axis: Axes, image: np.ndarray) -> None:
    axis.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")


def _over(axis: Axes, image: np.ndarray, colours: np.ndarray) -> None:
    """The colours stretched over the image, which is lightened so that both can be told apart."""
    height, width = image.shape
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    _image(axis, 0.35 + 0.65 * image)
    axis.imshow(colours, extent=extent, interpolation="nearest")
    axis.set(xlim=extent[:2], ylim=extent[2:])
