"""Pictures and words that several sections share."""

from __future__ import annotations

from html import escape

import numpy as np

from whence.plots import HeatMap
from whence.plots.channels import mosaic
from whence.report.cases import Case
from whence.report.html import picture
from whence.report.results import Results

STYLE = HeatMap(percentile=100.0)
"""Maps of 64 pixels have no outliers to clip."""
PAPER, INK = 0.97, 0.11


def digit(results: Results, i: int) -> str:
    """The image of a digit, dark ink on light paper."""
    image = PAPER + (INK - PAPER) * results.digits.images[i, 0]
    return picture(image, f"a handwritten {results.digits.labels[i]}")


def heat(values: np.ndarray, alt: str, limit: float | None = None) -> str:
    """The signed map of attributions ``[C, H, W]``, summed over channels, on its own scale unless given one."""
    summed = summed_map(values)
    return picture(STYLE.colours(summed, limit)[..., :3], alt)


def summed_map(values: np.ndarray) -> np.ndarray:
    """``[H, W]`` of attributions ``[C, H, W]``."""
    found: np.ndarray = STYLE.maps(np.moveaxis(values, 0, -1)[None])[0]
    return found


def channels(values: np.ndarray, alt: str) -> str:
    """The channels ``[C, H, W]`` of an activation side by side in a grid, on one scale from least to most."""
    low, high = float(values.min()), float(values.max())
    scaled = PAPER + (INK - PAPER) * (values - low) / ((high - low) or 1.0)
    return picture(np.nan_to_num(mosaic(scaled), nan=1.0), alt)


def over(values: np.ndarray, image: np.ndarray, alt: str) -> str:
    """The signed map ``[H, W]`` over a digit ``[H, W]`` in pale ink."""
    colours = STYLE.overlay(values)
    ground = (PAPER + (0.6 - PAPER) * image)[..., None]
    return picture(ground * (1 - colours[..., 3:]) + colours[..., :3] * colours[..., 3:], alt)


def key() -> str:
    """What the colours mean."""
    stops = STYLE.colours(np.linspace(-1, 1, 9)[None], 1.0)[0, :, :3]
    colours = ", ".join("rgb(" + " ".join(str(round(255 * c)) for c in stop) + ")" for stop in stops)
    return (
        f'<p class="key">against the class <span style="background: linear-gradient(to right, {colours})"></span> '
        "for the class</p>"
    )


def named(case: Case) -> str:
    """A case as HTML: its method, and its setting in a softer voice."""
    setting = f'<span class="setting">{escape(case.setting)}</span>' if case.setting else ""
    return f"<code>{escape(case.name).replace('_', '_<wbr>')}</code>{setting}"
