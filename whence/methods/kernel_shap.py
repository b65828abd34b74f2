"""KernelSHAP: Shapley values as the solution of a weighted least-squares problem over coalitions.

    minimise over phi: sum over S of k(|S|) (v(S) - v(none) - sum over i in S of phi_i)^2
    subject to sum of phi = v(all) - v(none),  k(s) = (F - 1) / (C(F, s) s (F - s))

Lundberg and Lee 2017, arXiv 1705.07874, theorem 2. Coalitions come with their complements (Covert and Lee 2021,
arXiv 2012.01536), without replacement, sizes by leverage scores (Musco and Witter 2024, arXiv 2410.01917).

Over all coalitions, or for few chosen features, it is solved as it stands; the constraint holds exactly, since it is
eliminated with a multiplier: ``pair_regression``. Over some coalitions, what features do beyond their sum differs from
one coalition to the next, more alike for coalitions that are alike. Least squares generalised by that covariance come
to the same values with half as many evaluations or fewer: ``pair_process``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from whence.core.coalitions import Game
from whence.core.errors import ParameterError
from whence.core.validation import integer, positive_int, positive_tolerance
from whence.methods.by_feature import Estimate, FeatureMethod
from whence.methods.coalition_pairs import Pairs, existing_pairs, pairs
from whence.methods.pair_process import solution
from whence.methods.pair_regression import Projection, projection
from whence.methods.selection import selected
from whence.methods.until import reached


@dataclass(frozen=True, kw_only=True, repr=False)
class KernelSHAP(FeatureMethod):
    """Shapley values by generalised least squares over coalitions, ``[B, ...]``, with their standard error.

    ``n_samples`` coalitions besides none and all, in pairs of opposites; None for 2 F + 2048. Where there are no more
    than that, the values are exact. With ``tol``, coalitions are added until the norm of the standard errors is below
    ``tol`` times that of the values for every sample, up to ``max_samples``. Values sum to the score's change from
    the baseline exactly. ``l1_reg`` keeps few features: an int (so many), ``"aic"``, ``"bic"``, or the penalty of a
    lasso; standard errors are then those given the choice. The same coalitions serve all samples.

    Source: Lundberg and Lee 2017, arXiv 1705.07874; Covert and Lee 2021, arXiv 2012.01536; Musco and Witter 2024,
    arXiv 2410.01917.
    """

    name: ClassVar[str] = "kernel_shap"

    n_samples: int | None = None
    l1_reg: int | float | str | None = None
    tol: float | None = None
    max_samples: int = 100_000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_samples is not None:
            positive_int("n_samples", self.n_samples)
        positive_int("max_samples", self.max_samples)
        integer("seed", self.seed)
        positive_tolerance(self.tol)
        selected(self.l1_reg, np.eye(2), np.ones(2))

    def estimate(self, game: Game) -> Estimate:
        n, none = game.size, np.zeros((1, game.size), bool)
        if n == 1:
            empty = game.values(none)[0]
            return Estimate((game.full - empty)[:, None], np.zeros((game.batch, 1)), empty, notes={"n_samples": 0})
        count, known = self._first(n), Known(game)
        while True:
            design = pairs(n, count, self.seed)
            difference = known.differences(design)
            values, error = self._solved(design, difference, game.full - known.empty)
            enough = self.tol is None or 2 * count >= self.max_samples or design.complete
            if enough or reached(values, error, self.tol or 0.0):
                return Estimate(values, error, known.empty, notes={"n_samples": 2 * len(design.member)})
            count = min(2 * count, self.max_samples // 2)

    def _first(self, n: int) -> int:
        """Pairs of the first round; fewer than n - 1 leave the values undetermined."""
        start = 4 * n + 64 if self.tol is not None else 2 * n + 2048
        count = (start if self.n_samples is None else self.n_samples) // 2
        if count < min(n - 1, sum(existing_pairs(n))):
            raise ParameterError(
                f"kernel_shap over {n} features",
                received=f"n_samples={self.n_samples}",
                valid=f"{2 * (n - 1)} coalitions at least, better ten times as many",
            )
        return count

    def _solved(self, design: Pairs, difference: np.ndarray, change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values and standard errors ``[B, F]`` from differences ``[P, B]`` and the changes of the score ``[B]``."""
        if design.complete and self.l1_reg is None:
            return projection(design).solution(difference, change)
        if self.l1_reg is None:
            return solution(design, difference, change)
        member = design.member.astype(np.float64)
        values, errors = np.zeros((2, len(change), member.shape[1]))
        root = np.sqrt(design.weight / design.weight.mean())
        centred = 2 * (member - member.mean(axis=1, keepdims=True))
        for b, own in enumerate(change):
            sides = (2 * member - 1).sum(axis=1) / member.shape[1]
            kept = selected(self.l1_reg, root[:, None] * centred, root * (difference[:, b] - sides * own))
            found = Projection.of(design, member[:, kept]).solution(difference[:, b : b + 1], own[None])
            values[b, kept], errors[b, kept] = found[0][0], found[1][0]
        return values, errors


class Known:
    """What v gave so far: pairs that a larger design shares with a smaller one are not evaluated again."""

    def __init__(self, game: Game) -> None:
        self.game = game
        self.drawn: np.ndarray | None = None
        self.found = np.empty((0, game.batch))

    def differences(self, design: Pairs) -> np.ndarray:
        """v(S) - v(complement of S) of each pair, ``[P, B]``; v(none) comes with the first call."""
        if self.drawn is None:
            none = np.zeros((1, design.member.shape[1]), bool)
            v = self.game.values(np.concatenate([none, design.member, ~design.member]))
            self.empty, self.found = v[0], _halves(v[1:])
        else:
            before, drawn = self.drawn, design.drawn
            new = _counted(drawn) >= np.repeat(before, drawn)
            found, rows = np.empty((len(new), self.game.batch)), design.member[new]
            found[~new] = self.found[_counted(before) < np.repeat(drawn, before)]
            found[new] = _halves(self.game.values(np.concatenate([rows, ~rows])))
            self.found = found
        self.drawn = design.drawn
        return self.found


def _halves(v: np.ndarray) -> np.ndarray:
    """The first half less the second."""
    return np.asarray(v[: len(v) // 2] - v[len(v) // 2 :])


def _counted(drawn: np.ndarray) -> np.ndarray:
    """The number of each pair among those of its size, from 0, where so many are drawn of each size."""
    return np.asarray(np.arange(drawn.sum()) - np.repeat(np.cumsum(drawn) - drawn, drawn))
