"""The Shapley kernel's least squares over pairs of a coalition and its complement, and its standard error.

With D the difference of v within each pair, the solution of

    [A 1; 1' 0] [phi; mu] = [b; v(all) - v(none)],  A = Z' W Z,  b = Z' W (v - v(none))

is phi = h (v(all) - v(none)) + U' D, mu being the constraint's multiplier. The standard error is that of a sum over
pairs, drawn by size from finitely many, of U times the residual of D.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Self

import numpy as np

from whence.methods.coalition_pairs import Pairs


@dataclass(frozen=True, eq=False)
class Projection:
    """What the solution takes from the design alone: phi = ``h[F]`` change + ``u[P, F]``' D."""

    design: Pairs
    member: np.ndarray
    u: np.ndarray
    h: np.ndarray

    @classmethod
    def of(cls, design: Pairs, member: np.ndarray) -> Self:
        """For the columns ``member[P, F]`` of a design, as numbers."""
        n, weighted = member.shape[1], design.weight[:, None] * member
        both, each = weighted.T @ member, weighted.sum(axis=0)
        system = np.ones((n + 1, n + 1))
        # Z' W Z over pairs: complements add w (1 - z_i) (1 - z_j)
        system[:n, :n], system[n, n] = 2 * both + design.weight.sum() - each[:, None] - each, 0
        inverse = _inverse(system)
        return cls(design, member, weighted @ inverse[:n, :n], inverse[:n, n])

    def solution(self, difference: np.ndarray, change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """phi and its standard error, ``[B, F]`` each."""
        values = self.h * change[:, None] + (self.u.T @ difference).T
        residual = difference - (2 * self.member @ values.T - change)
        return values, np.sqrt(self._variance(residual))

    @cached_property
    def share(self) -> np.ndarray:
        """Of each size: how much of its pairs' variance is left, drawn without replacement."""
        drawn = self.design.drawn
        return np.asarray((1 - drawn / self.design.existing) * drawn / np.maximum(drawn - 1, 1))

    @cached_property
    def spread(self) -> np.ndarray:
        """``u^2`` times the share, ``[P, F]``."""
        return np.asarray(self.u**2 * self.share[self.design.stratum][:, None])

    @cached_property
    def sampled(self) -> list[tuple[slice, float]]:
        """The pairs of each size of which some are missing, and the share over their number."""
        drawn = self.design.drawn
        each = zip(np.cumsum(drawn), drawn, self.share, strict=True)
        return [(slice(stop - n, stop), share / n) for stop, n, share in each if share > 0 and n > 1]

    def _variance(self, residual: np.ndarray) -> np.ndarray:
        """Of the sum over pairs of u times residual, ``[B, F]``, pairs drawn by size without replacement."""
        count, n = self.u.shape
        if self.design.complete:
            return np.zeros((residual.shape[1], n))
        total = (residual**2).T @ self.spread
        for size, share in self.sampled:
            total -= share * (residual[size].T @ self.u[size]) ** 2
        free = count - (n - 1)
        return np.asarray(np.maximum(total, 0) * (count / free if free > 0 else np.nan))


@lru_cache(maxsize=4)
def projection(design: Pairs) -> Projection:
    """That of all features: the same design serves every batch."""
    return Projection.of(design, design.member.astype(np.float64))


def _inverse(system: np.ndarray) -> np.ndarray:
    """The inverse, or the pseudo-inverse where coalitions leave some values undetermined."""
    try:
        inverse = np.linalg.inv(system)
    except np.linalg.LinAlgError:
        inverse = np.full(system.shape, np.inf)
    if np.abs(inverse).max() * np.abs(system).max() > 1e10:
        inverse = np.linalg.pinv(system, rcond=1e-12, hermitian=True)
    return np.asarray(inverse)
