"""Masks that RISE and LIME need: balanced designs and a control variate beside plain random masks.

A trained CNN on three pictures of 32 px, 7 by 7 cells. Errors are relative L2 norms against maps from many masks; of
RISE the mean is taken off first, since differences between positions count.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial

import numpy as np

import whence
from benchmarks import report
from benchmarks.trained import Trained, resnet
from whence.features import Grid

SEEDS, MANY = 4, 16384
COUNTS = (256, 512, 1024, 2048)
PLAIN = {"sampling": "independent"}
Make = Callable[..., whence.Method]

LIME = partial(whence.LIME, feature_mask=Grid(5), baseline="zeros")
ESTIMATORS: dict[str, tuple[Make, Make]] = {
    "RISE, independent masks": (partial(whence.RISE, control_variate=False, **PLAIN), whence.RISE),
    "RISE, independent masks, control variate": (partial(whence.RISE, **PLAIN), whence.RISE),
    "RISE, Hadamard masks": (partial(whence.RISE, control_variate=False), whence.RISE),
    "RISE, Hadamard masks, control variate (as it is)": (whence.RISE, whence.RISE),
    "LIME, independent samples": (partial(LIME, **PLAIN), LIME),
    "LIME, Hadamard samples (as it is)": (LIME, LIME),
}
"""Each with the one whose map from many masks is taken for the truth."""


def measure() -> None:
    """Measure and write the table."""
    warnings.simplefilter("ignore")
    network = resnet(3)
    known = {make: _maps(network, make, MANY, 10**6) for make in (whence.RISE, LIME)}
    rows = []
    for name, (make, many) in ESTIMATORS.items():
        rows.append([name, *(f"{_error(network, make, count, known[many]):.3f}" for count in COUNTS)])
    report.write(
        "masks",
        report.head(
            "Masks that RISE and LIME need",
            "masks",
            ("torch", "scikit-learn"),
            f"Relative L2 error against the maps of {MANY} balanced masks, the median over {SEEDS} seeds and three "
            "pictures of 32 px, by the number of masks; a trained CNN, 7 by 7 cells. Of RISE's maps the mean is taken "
            "off first.",
        ),
        report.table(["estimator", *map(str, COUNTS)], rows),
    )


def _error(network: Trained, make: Make, count: int, wanted: np.ndarray) -> float:
    gaps = [_maps(network, make, count, seed) - wanted for seed in range(SEEDS)]
    return float(np.median(np.linalg.norm(gaps, axis=2) / np.linalg.norm(wanted, axis=1)))


def _maps(network: Trained, make: Make, count: int, seed: int) -> np.ndarray:
    """``[pictures, positions]``."""
    found = make(n_samples=count, seed=seed).explain(network.model, network.x, network.y)
    maps = found.attributions.flatten(1).double().numpy()
    return np.asarray(maps - maps.mean(axis=1, keepdims=True)) if found.method == "rise" else maps
