"""Weights and inputs as float64 NumPy arrays."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
BATCH, FEATURES, HIDDEN, CLASSES = 4, 6, 8, 3


def normal(*shape: int, seed: int, scale: float = 1.0) -> Array:
    """Normal values that float32 holds exactly."""
    values = np.random.Generator(np.random.Philox(seed)).standard_normal(shape) * scale
    return values.astype(np.float32).astype(np.float64)


def mlp() -> dict[str, Array]:
    """Two dense layers, kernels as [inputs, outputs]."""
    return {
        "w1": normal(FEATURES, HIDDEN, seed=1, scale=0.6), "b1": normal(HIDDEN, seed=2, scale=0.3),
        "w2": normal(HIDDEN, CLASSES, seed=3, scale=0.5), "b2": normal(CLASSES, seed=4, scale=0.3),
    }  # fmt: skip


def mobile() -> dict[str, Array]:
    """Convolution kernels as [rows, columns, inputs, outputs], per-channel factors and offsets, squeeze-and-excite."""
    return {
        "stem": normal(3, 3, 3, 6, seed=5, scale=0.3), "factor": normal(6, seed=6, scale=0.1) + 1,
        "offset": normal(6, seed=7, scale=0.2), "depthwise": normal(3, 3, 6, 1, seed=8, scale=0.4),
        "squeeze": normal(6, 3, seed=9, scale=0.6), "squeeze_b": normal(3, seed=10, scale=0.2),
        "excite": normal(3, 6, seed=11, scale=0.6), "excite_b": normal(6, seed=12, scale=0.2),
        "point": normal(1, 1, 6, 6, seed=13, scale=0.5), "head": normal(6, CLASSES, seed=14, scale=0.7),
    }  # fmt: skip


def lstm() -> dict[str, Array]:
    """Gates in the order input, forget, cell, output; kernels as [inputs, 4 units]."""
    return {
        "input": normal(4, 20, seed=15, scale=0.5), "state": normal(5, 20, seed=16, scale=0.4),
        "bias": normal(20, seed=17, scale=0.2), "head": normal(5, CLASSES, seed=18, scale=0.7),
    }  # fmt: skip


def attention() -> dict[str, Array]:
    """A block of a transformer: embedding with positions, attention, two dense layers; kernels as [inputs, outputs]."""
    return {
        "embed": normal(4, 6, seed=30, scale=0.6), "position": normal(6, 6, seed=31, scale=0.3),
        "query": normal(6, 6, seed=32, scale=0.7), "key": normal(6, 6, seed=33, scale=0.7),
        "value": normal(6, 6, seed=34, scale=0.5), "out": normal(6, 6, seed=35, scale=0.5),
        "factor": normal(6, seed=36, scale=0.2) + 1, "offset": normal(6, seed=37, scale=0.2),
        "up": normal(6, 9, seed=38, scale=0.5), "up_b": normal(9, seed=39, scale=0.2),
        "down": normal(9, 6, seed=40, scale=0.4), "head": normal(6, CLASSES, seed=41, scale=0.7),
    }  # fmt: skip


INPUTS = {
    "mlp": normal(BATCH, FEATURES, seed=20), "mobile": normal(BATCH, 8, 8, 3, seed=21),
    "lstm": normal(BATCH, 6, 4, seed=22), "attention": normal(BATCH, 6, 4, seed=28),
}  # fmt: skip
BASELINES = {
    "mlp": normal(BATCH, FEATURES, seed=23, scale=0.5), "mobile": normal(BATCH, 8, 8, 3, seed=24, scale=0.3),
    "lstm": normal(BATCH, 6, 4, seed=25, scale=0.3), "attention": normal(BATCH, 6, 4, seed=29, scale=0.3),
}  # fmt: skip
