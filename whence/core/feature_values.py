"""Attributions per feature: what ``Explanation.features`` holds, on the host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from whence.core.errors import ParameterError


class Ranked(NamedTuple):
    """One feature among a sample's strongest."""

    name: str
    value: float
    number: int


@dataclass(frozen=True, eq=False, repr=False)
class FeatureValues:
    """Attributions per feature.

    ``values[B, F]`` in the order of ``names(sample)``, NaN behind the last feature of a sample that has fewer;
    ``std_error`` alike where the method samples. ``masks``: for each attributed input, the feature number at every
    position; they broadcast to ``[B, ...]``, and a number of F means held fixed.
    """

    values: np.ndarray
    labels: tuple[tuple[str, ...], ...]
    masks: tuple[np.ndarray, ...]
    std_error: np.ndarray | None = None
    interactions: np.ndarray | None = None

    def names(self, sample: int = 0) -> tuple[str, ...]:
        """What the features of one sample are called; one list serves all where they are cut alike."""
        return self.labels[sample if len(self.labels) > 1 else 0]

    def top(self, n: int = 5, *, sign: int = 0) -> list[list[Ranked]]:
        """The ``n`` strongest features of each sample, by absolute value; ``sign`` 1 or -1: only for or against."""
        if n < 1 or sign not in (-1, 0, 1):
            raise ParameterError("top features", received=f"n={n!r}, sign={sign!r}", valid="n >= 1, sign -1, 0 or 1")
        found = []
        for sample, row in enumerate(self.values):
            names = self.names(sample)
            strength = (np.abs(row) if sign == 0 else sign * row)[: len(names)]
            order = [int(i) for i in np.argsort(-strength, kind="stable")[:n] if sign == 0 or strength[i] > 0]
            found.append([Ranked(names[i], float(row[i]), i) for i in order])
        return found

    def __repr__(self) -> str:
        return f"<{self.values.shape[1]} features of {len(self.values)} samples>"
