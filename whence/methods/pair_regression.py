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
        inverse = inverse_of(system)
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
    def sampled(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of sizes of which some pairs are missing: the pairs ``[S, m]``, ``u[S, m, F]``, share over number ``[S]``.

        Sizes are filled up to as many pairs each with P, which stands for none.
        """
        drawn, kept = self.design.drawn, (self.share > 0) & (self.design.drawn > 1)
        first, number = (np.cumsum(drawn) - drawn)[kept, None], drawn[kept, None]
        turn = np.arange(number.max(initial=0))
        pairs = np.where(turn < number, first + turn, len(self.u))
        return pairs, _with_none(self.u)[pairs], (self.share / np.maximum(drawn, 1))[kept]

    def _variance(self, residual: np.ndarray) -> np.ndarray:
        """Of the sum over pairs of u times residual, ``[B, F]``, pairs drawn by size without replacement."""
        count, n = self.u.shape
        if self.design.complete:
            return np.zeros((residual.shape[1], n))
        total = (residual**2).T @ self.spread
        pairs, u, share = self.sampled
        sums = np.swapaxes(_with_none(residual)[pairs], 1, 2) @ u
        total -= np.tensordot(share, sums**2, 1)
        free = count - (n - 1)
        return np.asarray(np.maximum(total, 0) * (count / free if free > 0 else np.nan))


def _with_none(rows: np.ndarray) -> np.ndarray:
    """The rows, and one of zeros."""
    return np.concatenate([rows, np.zeros((1, rows.shape[1]))])


@lru_cache(maxsize=4)
def projection(design: Pairs) -> Projection:
    """That of all features: the same design serves every batch."""
    return Projection.of(design, design.member.astype(np.float64))


def inverse_of(system: np.ndarray) -> np.ndarray:
    """The inverse, or the pseudo-inverse where coalitions leave some values undetermined."""
    try:
        inverse = np.linalg.inv(system)
    except np.linalg.LinAlgError:
        inverse = np.full(system.shape, np.inf)
    if np.abs(inverse).max() * np.abs(system).max() > 1e10:
        inverse = np.linalg.pinv(system, rcond=1e-12, hermitian=True)
    return np.asarray(inverse)
