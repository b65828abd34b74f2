"""Shapley values: a feature's mean contribution over all orders in which features could come in.

    phi_i = sum over S without i of |S|! (F - |S| - 1)! / F! (v(S + i) - v(S))

Shapley 1953; v(S) is the score with the features of S present (Strumbelj and Kononenko 2014,
doi 10.1007/s10115-013-0679-x; Lundberg and Lee 2017, arXiv 1705.07874). ExactShapley goes over all coalitions,
ShapleySampling over random orders (Castro, Gomez and Tejada 2009, doi 10.1016/j.cor.2008.04.004).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import factorial
from typing import ClassVar

import numpy as np

from whence.core.coalitions import Game
from whence.core.errors import ParameterError
from whence.core.sampling import generator
from whence.core.validation import integer, one_of, positive_int, positive_tolerance
from whence.methods.by_feature import Estimate, FeatureMethod
from whence.methods.until import reached

MOST_FEATURES = 20
"""More than a million coalitions are not what anybody wants to wait for."""


@dataclass(frozen=True, kw_only=True, repr=False)
class ExactShapley(FeatureMethod):
    """Shapley values from all 2^F coalitions, ``[B, ...]``: they sum to the score's change from the baseline.

    With ``interactions``, ``features.interactions[B, F, F]`` holds those of pairs, half of each on either side of the
    diagonal, main effects on it; rows sum to the Shapley values. ``"shapley"`` are Shapley interaction values, as of
    TreeSHAP, ``"taylor"`` Shapley-Taylor values, whose main effect is that of the feature alone.

    Source: Shapley 1953; Lundberg and Lee 2017, arXiv 1705.07874; interactions: Fujimoto, Kojadinovic and Marichal
    2006, doi 10.1016/j.geb.2005.03.002; Sundararajan, Dhamdhere and Agarwal 2020, arXiv 1902.05622.
    """

    name: ClassVar[str] = "exact_shapley"

    interactions: str | None = None

    def __post_init__(self) -> None:
        if self.interactions is not None:
            one_of("interactions", self.interactions, ("shapley", "taylor"))

    def estimate(self, game: Game) -> Estimate:
        n = game.size
        if n > MOST_FEATURES:
            raise ParameterError(
                "exact Shapley values",
                received=f"{n} features, which make 2^{n} coalitions",
                valid=f"up to {MOST_FEATURES}: group them by feature_mask, or use kernel_shap or shapley_sampling",
            )
        numbers = np.arange(2**n)
        member = (numbers[:, None] >> np.arange(n) & 1).astype(bool)
        v = game.values(member[:-1])
        v = np.concatenate([v, game.full[None]])
        size = member.sum(axis=1)
        values = np.stack([self._value(v, numbers, size, i, n) for i in range(n)], axis=1)
        pairs = None if self.interactions is None else self._pairs(v, numbers, size, values, n)
        return Estimate(values, empty=v[0], interactions=pairs)

    @staticmethod
    def _value(v: np.ndarray, numbers: np.ndarray, size: np.ndarray, i: int, n: int) -> np.ndarray:
        """phi_i ``[B]``."""
        without = numbers[numbers >> i & 1 == 0]
        weight = np.array([factorial(s) * factorial(n - s - 1) / factorial(n) for s in range(n)])
        return np.asarray(weight[size[without]] @ (v[without | 1 << i] - v[without]))

    def _pairs(self, v: np.ndarray, numbers: np.ndarray, size: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
        """Half of each pair's interaction, ``[B, n, n]``, main effects on the diagonal."""
        found = np.zeros((v.shape[1], n, n))
        if self.interactions == "taylor":
            weight = np.array([factorial(s) * factorial(n - s - 1) / factorial(n) for s in range(n - 1)])
        else:
            weight = np.array([factorial(s) * factorial(n - s - 2) / (2 * factorial(n - 1)) for s in range(n - 1)])
        for i in range(n):
            for j in range(i):
                a, b = 1 << i, 1 << j
                rest = numbers[numbers & (a | b) == 0]
                change = v[rest | a | b] - v[rest | a] - v[rest | b] + v[rest]
                found[:, i, j] = found[:, j, i] = weight[size[rest]] @ change
        for i in range(n):
            found[:, i, i] = values[:, i] - found[:, i].sum(axis=1)
        return found


@dataclass(frozen=True, kw_only=True, repr=False)
class ShapleySampling(FeatureMethod):
    """Shapley values from random orders of the features, ``[B, ...]``, with their standard error.

    ``n_samples`` orders, in each of which every feature comes in once; with ``antithetic`` every second one is the one
    before it backwards. With ``tol``, orders are added until the norm of the standard errors is below ``tol`` times
    that of the values for every sample, up to ``max_samples``. Values sum to the score's change from the baseline
    exactly. The same orders serve all samples.

    Source: Castro, Gomez and Tejada 2009, doi 10.1016/j.cor.2008.04.004; antithetic: Mitchell et al. 2022,
    arXiv 2104.12199.
    """

    name: ClassVar[str] = "shapley_sampling"

    n_samples: int = 26
    antithetic: bool = True
    tol: float | None = None
    max_samples: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        positive_int("n_samples", self.n_samples)
        positive_int("max_samples", self.max_samples)
        integer("seed", self.seed)
        positive_tolerance(self.tol)

    def estimate(self, game: Game) -> Estimate:
        none = np.zeros((1, game.size), bool)
        if game.size == 1:
            empty = game.values(none)[0]
            return Estimate((game.full - empty)[:, None], np.zeros((game.batch, 1)), empty, notes={"n_samples": 0})
        marginals: np.ndarray = np.empty((0, game.size, game.batch))
        count, empty = 0, None
        while True:
            ranks = self._ranks(count, self._aim(count), game.size)
            before = np.arange(1, game.size)[:, None]
            coalitions = (ranks[:, None] < before).reshape(-1, game.size)
            v = game.values(coalitions if empty is not None else np.concatenate([none, coalitions]))
            if empty is None:
                empty, v = v[0], v[1:]
            between = v.reshape(len(ranks), -1, game.batch)
            new = _marginals(ranks, between, empty, game.full)
            marginals = np.concatenate([marginals, new]) if count else new
            count += len(ranks)
            values, error = self._moments(marginals)
            if self.tol is None or count >= self.max_samples or reached(values, error, self.tol):
                return Estimate(values, error, empty, notes={"n_samples": count})

    def _aim(self, count: int) -> int:
        """Orders after the next round: twice as many."""
        aim = 2 * count if count else self.n_samples
        return aim if self.tol is None else min(aim, max(self.max_samples, count + 1))

    def _ranks(self, start: int, stop: int, n: int) -> np.ndarray:
        """When each feature comes in, ``[orders, F]`` from 0, in the orders ``start .. stop``."""
        ranks = self._drawn(stop, n)
        if self.antithetic:
            backwards = np.arange(stop) % 2 == 1
            ranks = np.where(backwards[:, None], n - 1 - ranks[np.arange(stop) - backwards], ranks)
        return ranks[start:]

    def _drawn(self, count: int, n: int) -> np.ndarray:
        """Random ranks ``[count, F]``; fewer are the first of more."""
        return _random_ranks(self.seed, count, n)

    def _moments(self, marginals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean ``[B, F]`` and its standard error over independent draws, which are pairs where antithetic."""
        values = marginals.mean(axis=0).T
        if self.antithetic:
            pairs = len(marginals) // 2
            marginals = marginals[: 2 * pairs].reshape(pairs, 2, *marginals.shape[1:]).mean(axis=1)
        if len(marginals) < 2:
            return values, np.full(values.shape, np.nan)
        return values, marginals.std(axis=0, ddof=1).T / len(marginals) ** 0.5


@lru_cache(maxsize=8)
def _random_ranks(seed: int, count: int, n: int) -> np.ndarray:
    drawn = generator(seed, "shapley_sampling", 0, 0).random((count, n))
    ranks = np.argsort(np.argsort(drawn, axis=1), axis=1)
    ranks.setflags(write=False)
    return ranks


def _marginals(ranks: np.ndarray, v: np.ndarray, empty: np.ndarray, full: np.ndarray) -> np.ndarray:
    """Each order's contributions ``[orders, F, B]``; ``v[orders, F - 1, B]`` between none and all."""
    along = np.empty((len(v), v.shape[1] + 2, v.shape[2]))
    along[:, 0], along[:, 1:-1], along[:, -1] = empty, v, full
    steps = along[:, 1:] - along[:, :-1]
    return np.asarray(steps[np.arange(len(v))[:, None], ranks])
