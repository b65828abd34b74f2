"""The frameworks that the demonstration compares, as far as they are installed."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from whence.report.digits_models.weights import Weights


@dataclass(frozen=True)
class Framework:
    """One framework: ``name`` in tables, ``title`` in sentences, ``requires`` the modules it cannot do without."""

    name: str
    title: str
    requires: tuple[str, ...]
    models: str
    channels_last: bool
    float64: bool = True

    @property
    def installed(self) -> bool:
        """Found without importing anything."""
        return all(find_spec(module) is not None for module in self.requires)

    def images(self, values: np.ndarray) -> np.ndarray:
        """Images ``[B, C, H, W]`` in this framework's layout."""
        return np.ascontiguousarray(np.moveaxis(values, 1, -1)) if self.channels_last else values

    def channels_first(self, values: np.ndarray) -> np.ndarray:
        """Values of images in this framework's layout as ``[B, C, H, W]``."""
        return np.moveaxis(values, -1, 1) if self.channels_last and values.ndim == 4 else values

    def build(self, weights: Weights, dtype: str) -> Any:
        """The network with these weights."""
        return self._module.build(weights, dtype)

    def train(self, weights: Weights, images: np.ndarray, labels: np.ndarray) -> Weights:
        """The weights after training on images ``[B, C, H, W]``."""
        trained: Weights = self._module.train(weights, self.images(images), labels)
        return trained

    def scope(self, dtype: str) -> AbstractContextManager[Any]:
        """The context in which models of this dtype are made and explained."""
        make: Callable[[str], AbstractContextManager[Any]] = self._module.scope
        return make(dtype)

    @property
    def _module(self) -> Any:
        return import_module(f"whence.report.digits_models.{self.models}")


def known() -> tuple[Framework, ...]:
    """All frameworks, in the order in which they have to be imported: PyTorch before TensorFlow."""
    under_keras = os.environ.get("KERAS_BACKEND", "tensorflow")
    on_tensorflow = under_keras == "tensorflow"
    titles = {"tensorflow": "TensorFlow", "jax": "Keras on JAX", "torch": "Keras on PyTorch"}
    return (
        Framework("torch", "PyTorch", ("torch",), "torch", channels_last=False),
        Framework(
            "tensorflow" if on_tensorflow else f"keras-{under_keras}",
            titles.get(under_keras, f"Keras on {under_keras}"),
            ("keras", under_keras),
            "keras",
            channels_last=True,
            float64=on_tensorflow,  # on the others, Keras turns float64 into float32 inside its layers
        ),
        Framework("jax", "JAX", ("jax", "flax"), "flax", channels_last=True),
    )
