"""Random inputs of the networks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .sizes import TextSize, size_of

COARSE = 4


def inputs(name: str, batch: int, dtype: str = "float32", seed: int = 0, **options: int) -> NDArray[Any]:
    """Images [batch, channels, rows, columns] of unit variance, or token ids [batch, length] as int64."""
    size = size_of(name, **options)
    rng = np.random.Generator(np.random.Philox(seed))
    if isinstance(size, TextSize):
        return rng.integers(size.vocabulary, size=(batch, size.length))
    # Coarse patches and fine noise: white noise alone averages out, and the logits would not depend on the image.
    coarse = rng.standard_normal((batch, size.channels, COARSE, COARSE))
    coarse = np.kron(coarse, np.ones((size.image // COARSE, size.image // COARSE)))
    return (0.8 * coarse + 0.6 * rng.standard_normal(coarse.shape)).astype(dtype)


def to_channels_last(array: NDArray[Any]) -> NDArray[Any]:
    """Images with the channel axis last; token ids as they are."""
    return np.ascontiguousarray(np.moveaxis(array, 1, -1)) if array.ndim == 4 else array
