"""Resizing and blurring against loops written from the definition."""

from __future__ import annotations

from itertools import product
from math import exp, floor

import numpy as np
import pytest

from whence.backends.numpy import ops
from whence.core.interpolation import gaussian_matrix, resize_matrix
from whence.errors import ParameterError


def resized(line: np.ndarray, new: int, method: str) -> list[float]:
    """One line resampled: pixel i covers [i, i + 1), its value stands at its centre i + 1/2."""
    old, found = len(line), []
    for i in range(new):
        at = (i + 0.5) * old / new - 0.5
        if method == "nearest":
            found.append(line[min(floor(at + 0.5), old - 1)])
            continue
        at = min(max(at, 0.0), old - 1.0)
        low = floor(at)
        found.append(line[low] * (1 - (at - low)) + line[min(low + 1, old - 1)] * (at - low))
    return found


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
def test_one_axis(method: str) -> None:
    for old, new in product((1, 2, 3, 7, 14), (1, 2, 5, 7, 28)):
        line = np.random.default_rng(old).standard_normal(old)
        assert np.allclose(resize_matrix(old, new, method) @ line, resized(line, new, method), atol=1e-14)


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
def test_two_axes_of_an_image(method: str) -> None:
    image = np.random.default_rng(0).standard_normal((2, 4, 6, 3))
    rows = np.array([[[resized(image[b, :, w, c], 7, method) for c in range(3)] for w in range(6)] for b in range(2)])
    rows = np.moveaxis(rows, -1, 1)
    wanted = np.array([[[resized(rows[b, h, :, c], 5, method) for c in range(3)] for h in range(7)] for b in range(2)])
    found = ops.resize(image, (7, 5), axes=(1, 2), method=method)
    assert found.shape == (2, 7, 5, 3) and np.allclose(found, np.moveaxis(wanted, -1, 2), atol=1e-14)
    assert np.allclose(ops.resize(image, (7, 5), axes=(-3, -2), method=method), found, atol=0)


def test_weights_of_each_pixel_sum_to_one() -> None:
    for old, new in product(range(1, 12), range(1, 25)):
        for method in ("bilinear", "nearest"):
            assert np.allclose(resize_matrix(old, new, method).sum(1), 1)
    assert np.array_equal(resize_matrix(5, 5, "bilinear"), np.eye(5))


def test_unknown_method() -> None:
    with pytest.raises(ParameterError, match="bilinear"):
        resize_matrix(2, 4, "bicubic")


def test_gaussian() -> None:
    matrix = gaussian_matrix(9, 1.5)
    for i in range(9):
        kernel = [exp(-0.5 * ((i - j) / 1.5) ** 2) for j in range(9)]
        assert np.allclose(matrix[i], np.array(kernel) / sum(kernel))
