"""LIME: a linear model of the score in the presence of features, fitted around the sample.

    minimise over a, phi: sum over z of w(z) (v(z) - a - z phi)^2 + alpha |phi|^2
    w(z) = sqrt(exp(-d(z, 1)^2 / width^2))

Ribeiro, Singh and Guestrin 2016, arXiv 1602.04938, algorithm 1; conventions of the lime package, version 0.2. z[K, F]
says which features are present; its first row is the sample itself, all ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from whence.core import designs
from whence.core.baselines import FeatureMean
from whence.core.coalitions import Game
from whence.core.context import Context
from whence.core.errors import ParameterError
from whence.core.features import Superpixels
from whence.core.grouping import Grouping, find
from whence.core.method import Attribution
from whence.core.sampling import generator
from whence.core.validation import integer, one_of, positive, positive_int
from whence.methods.by_feature import Estimate, FeatureMethod
from whence.methods.surrogate import Fit, Surrogate

DISTANCES = ("cosine", "euclidean", "hamming")
Kernel = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True, repr=False)
class LIME(FeatureMethod):
    """Coefficients of a linear model of the score in the features' presence, fitted near the sample: ``[B, ...]``.

    ``n_samples`` variants, each feature present in half of them (``sampling``: ``"hadamard"``, balanced;
    ``"independent"``; ``"removal"``, a random number of features taken away, as for texts). Weights fall with the
    ``distance`` from the sample (``"cosine"``, ``"euclidean"`` or ``"hamming"``) by ``kernel``, a function of
    distances, or sqrt(exp(-d^2 / ``kernel_width``^2)). ``surrogate`` is a linear scikit-learn estimator, Ridge(alpha=1)
    if None, of at most ``n_features`` features, chosen by ``feature_selection``: ``"auto"``, ``"forward"``,
    ``"highest_weights"``, ``"lasso_path"`` or ``"none"``. Images are cut into quickshift superpixels, absent ones in
    their mean colour, unless ``feature_mask`` and ``baseline`` say otherwise. The same variants serve all samples.

    Source: Ribeiro, Singh and Guestrin 2016, arXiv 1602.04938.
    """

    name: ClassVar[str] = "lime"

    baseline: Any = None
    n_samples: int = 1000
    sampling: str = "hadamard"
    distance: str = "cosine"
    kernel: Kernel | None = None
    kernel_width: float = 0.25
    surrogate: Any = None
    n_features: int | None = None
    feature_selection: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        positive_int("n_samples", self.n_samples)
        positive("kernel_width", self.kernel_width)
        integer("seed", self.seed)
        one_of("sampling", self.sampling, (*designs.SAMPLING, "removal"))
        one_of("distance", self.distance, DISTANCES)
        if self.kernel is not None and not callable(self.kernel):
            raise ParameterError("kernel", received=repr(self.kernel), valid="None, or a function of distances")
        self._surrogate()

    def grouping(self, ctx: Context) -> Grouping:
        pictures = self.feature_mask is None and all(map(_is_picture, range(len(ctx.x)), [ctx] * len(ctx.x)))
        return find(ctx, Superpixels() if pictures else self.feature_mask)

    def compute(self, ctx: Context) -> Attribution:
        if self.baseline is not None:
            return super().compute(ctx)
        pictures = ctx.place.layer is None and all(map(_is_picture, range(len(ctx.x)), [ctx] * len(ctx.x)))
        return self.computed(ctx, FeatureMean() if pictures else "zeros")

    def estimate(self, game: Game) -> Estimate:
        z = self._presence(game.size)
        others = game.values(z[1:])
        v = np.concatenate([game.full[None], others])
        weight, surrogate = self.weights(z), self._surrogate()
        return as_estimate([surrogate.fit(z.astype(np.float64), v[:, b], weight) for b in range(game.batch)])

    def _surrogate(self) -> Surrogate:
        return Surrogate(self.surrogate, self.n_features, self.feature_selection)

    def _presence(self, n: int) -> np.ndarray:
        """Which features are present, ``[n_samples, F]``; all of them in the first row."""
        if self.n_samples < n + 1:
            raise ParameterError(
                f"{self.name} over {n} features",
                received=f"n_samples={self.n_samples}",
                valid=f"{n + 1} at least, better ten times as many",
            )
        others = self.n_samples - 1
        if self.sampling == "removal":
            drawn = _with_removals(others, n, self.seed)
        else:
            drawn = designs.on_off(self.sampling, others, n, 0.5, seed=self.seed, stream="lime")
        return np.concatenate([np.ones((1, n), bool), drawn])

    def weights(self, z: np.ndarray) -> np.ndarray:
        """The weight ``[K]`` of each variant."""
        distance = self._distances(z)
        if self.kernel is not None:
            return np.asarray(self.kernel(distance), np.float64)
        return np.asarray(np.sqrt(np.exp(-(distance**2) / self.kernel_width**2)))

    def _distances(self, z: np.ndarray) -> np.ndarray:
        """From all present, ``[K]``."""
        share = z.mean(axis=1)
        if self.distance == "cosine":
            return np.asarray(1 - np.sqrt(share))
        return np.asarray(1 - share if self.distance == "hamming" else np.sqrt((1 - share) * z.shape[1]))


@dataclass(frozen=True, kw_only=True, repr=False)
class LIMEText(LIME):
    """LIME with the lime package's conventions for texts: words removed, cosine distances in per cent: ``[B, T]``.

    The score is explained in the words' presence; see ``whence.features.Texts`` for models that read strings.

    Source: Ribeiro, Singh and Guestrin 2016, arXiv 1602.04938.
    """

    name: ClassVar[str] = "lime_text"

    baseline: Any = "zeros"
    n_samples: int = 5000
    sampling: str = "removal"
    kernel_width: float = 25.0
    n_features: int | None = 10

    def _distances(self, z: np.ndarray) -> np.ndarray:
        return 100 * super()._distances(z)


def as_estimate(fits: list[Fit]) -> Estimate:
    """Fits of several samples, what they are worth among the notes."""
    return Estimate(
        np.stack([fit.values for fit in fits]),
        np.stack([fit.error for fit in fits]),
        notes={
            "intercept": [fit.intercept for fit in fits],
            "r2": [fit.score for fit in fits],
            "local_prediction": [fit.prediction for fit in fits],
        },
    )


def _is_picture(leaf: int, ctx: Context) -> bool:
    return ctx.place.layer is None and len(ctx.layout(leaf).spatial) == 2


def _with_removals(count: int, n: int, seed: int) -> np.ndarray:
    """``[count, n]``: 1 to n features removed, all numbers equally often, then all features."""
    rng = generator(seed, "lime/removal", 0, 0)
    removed = rng.integers(1, n + 1, count)
    ranks = np.argsort(rng.random((count, n)), axis=1).argsort(axis=1)
    return np.asarray(ranks >= removed[:, None])
