"""Resampling and smoothing of one axis, as small host matrices in float64."""

from __future__ import annotations

import numpy as np

from whence.core.errors import ParameterError


def resize_matrix(old: int, new: int, method: str) -> np.ndarray:
    """``[new, old]`` weights with half-pixel centres and no antialiasing."""
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    matrix = np.zeros((new, old))
    if method == "nearest":
        matrix[np.arange(new), np.minimum(np.floor(centres + 0.5), old - 1).astype(int)] = 1.0
    elif method == "bilinear":
        centres = np.clip(centres, 0, old - 1)
        low = np.floor(centres).astype(int)
        high = np.minimum(low + 1, old - 1)
        np.add.at(matrix, (np.arange(new), low), 1 - (centres - low))
        np.add.at(matrix, (np.arange(new), high), centres - low)
    else:
        raise ParameterError("method of resize", received=method, valid='"bilinear" or "nearest"')
    return matrix


def gaussian_matrix(length: int, sigma: float) -> np.ndarray:
    """``[length, length]`` Gaussian blur along one axis; rows sum to one, the border renormalised."""
    offsets = np.arange(length)[:, None] - np.arange(length)[None, :]
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    return np.asarray(kernel / kernel.sum(axis=1, keepdims=True))
