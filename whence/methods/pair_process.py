"""Shapley values as the posterior mean of a Gaussian process, given pairs of a coalition and its complement.

With signs z, 1 for a feature that is present and -1 for one that is not, half the difference of v within a pair is an
odd function g(z). Before any pair is seen, g may be any linear function, and besides have interactions of odd order:

    cov(g(z), g(z')) = sinh(theta z.z' / F) = (prod_j (c + s z_j z'_j) - prod_j (c - s z_j z'_j)) / 2

with c, s = cosh, sinh of theta / F, so that orders count less the higher they are. The Shapley value is linear in g,

    phi_i = integral from -1 to 1 of the derivative of g by z_i, at z = (x, ..., x), dx

g continued from the corners of the cube as a polynomial of degree one in each z_j (Owen 1972,
doi 10.1287/mnsc.18.5.64). Its covariance with g(z) is therefore that integral of z_i s prod_{j != i} (c + s x z_j).
The posterior mean is generalised least squares: kriging with a linear trend (Rasmussen and Williams 2006,
Gaussian Processes for Machine Learning, section 2.7). Coalitions that are alike share what they tell of interactions,
which the weights of a diagonal least-squares problem cannot express.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np

from whence.methods.coalition_pairs import Pairs
from whence.methods.pair_regression import inverse_of, projection

THETA = 2.0
"""Interactions of order 5 then vary about an eighth as much as those of order 3, whatever the number of features."""
NOISE = 1e-8
"""Of the variance of g: what makes the covariance of many pairs invertible."""
MOST_PAIRS = 1536
"""More pairs are solved in parts, whose solutions are averaged: the work grows with the cube of their number."""
LEFT_OUT = 128
"""Pairs at which the posterior is compared with what it would be without them, to see how large interactions are."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """What the posterior takes from the pairs alone, as one linear map of g of all features and of the pairs.

    ``of_known[F + M, 1 + P]`` gives phi ``[F]`` and M residuals: of g of one pair, from all other pairs, over its
    standard deviation. ``deviation[F]`` is that of phi before interactions are scaled.
    """

    of_known: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, member: np.ndarray) -> Self:
        """For coalitions ``member[P, F]``, whose complements are known as well."""
        n = member.shape[1]
        z = np.where(np.concatenate([np.ones((1, n), bool), member]), 1.0, -1.0)
        covariance = np.sinh(THETA / n * (z @ z.T))
        covariance[np.arange(1, len(z)), np.arange(1, len(z))] += NOISE  # v of all and of none is the change exactly
        along, prior = _of_values(n)
        seen = z * along[(z > 0).sum(axis=1, keepdims=True) - (z > 0)]
        out = np.arange(1, len(z))[:: -(-len(member) // LEFT_OUT)]
        inverse = np.linalg.solve(covariance, np.concatenate([seen, z, np.eye(len(z))[:, out]], axis=1))
        of_seen, of_linear, of_out = np.split(inverse, [n, 2 * n], axis=1)
        slopes = inverse_of(z.T @ of_linear)
        unseen = 2 * np.eye(n) - z.T @ of_seen  # of a linear g, phi_i is twice its slope
        weight = of_seen + of_linear @ slopes @ unseen
        weight -= weight.mean(axis=1, keepdims=True)  # rounding: values add up to the change
        weight[0] += 2 / n
        variance = prior - (seen * of_seen).sum(axis=0) + (unseen * (slopes @ unseen)).sum(axis=0)
        alone = of_out - of_linear @ slopes @ of_linear[out].T
        residuals = _standardised(alone, of_out, out)
        return cls(np.concatenate([weight.T, residuals]), np.sqrt(np.maximum(variance, 0)))

    def solution(self, difference: np.ndarray, change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """phi and its standard error ``[B, F]`` from D ``[P, B]`` and the changes of the score ``[B]``."""
        g = np.concatenate([change[None], difference]) / 2
        found, n = self.of_known @ g, len(self.deviation)
        residual = found[n:]
        scale = np.sqrt((residual * residual).sum(axis=0) / (len(residual) or np.nan))
        return found[:n].T, scale[:, None] * self.deviation


def solution(design: Pairs, difference: np.ndarray, change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """phi and its standard error ``[B, F]`` from D ``[P, B]`` and the changes of the score ``[B]``.

    Where the pairs are solved in parts, the regression over all of them is taken for samples for which its standard
    error is less: few pairs are missing then.
    """
    parts = posteriors(design)
    each = [part.solution(difference[i :: len(parts)], change) for i, part in enumerate(parts)]
    if len(each) == 1:
        return each[0]
    values, errors = (np.stack(found) for found in zip(*each, strict=True))
    parted = values.mean(axis=0), np.sqrt((errors**2).sum(axis=0)) / len(parts)
    whole = projection(design).solution(difference, change)
    nearer = (np.linalg.norm(whole[1], axis=1) < np.linalg.norm(parted[1], axis=1))[:, None]
    return np.where(nearer, whole[0], parted[0]), np.where(nearer, whole[1], parted[1])


@lru_cache(maxsize=2)
def posteriors(design: Pairs) -> tuple[Posterior, ...]:
    """Of parts with all sizes alike: the same design serves every batch."""
    count, n = design.member.shape
    parts = -(-count // max(MOST_PAIRS, 2 * n))
    return tuple(Posterior.of(design.member[i::parts]) for i in range(parts))


def _of_values(n: int) -> tuple[np.ndarray, float]:
    """The covariance of phi_i and z_i g(z), by how many of the others are present ``[F]``, and the variance of phi_i.

    Sixteen nodes are exact to rounding, since the integrand varies like exp(theta x).
    """
    c, s = np.cosh(THETA / n), np.sinh(THETA / n)
    x, w = np.polynomial.legendre.leggauss(16)
    present = np.arange(n)[:, None]
    along = s * ((c + s * x) ** present * (c - s * x) ** (n - 1 - present)) @ w
    return along, float(s * w @ (c + s * np.outer(x, x)) ** (n - 1) @ w)


def _standardised(alone: np.ndarray, with_trend: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Columns ``out`` of the covariance's inverse, without the trend, as rows over the root of their own entry.

    They give residuals from all other pairs (Rasmussen and Williams 2006, section 5.4.2), none of a pair without which
    the trend is not known. A scale that comes from these is right where the covariance is not (Bachoc 2013,
    doi 10.1016/j.csda.2013.03.016).
    """
    own, known = np.diag(alone[out]), np.diag(with_trend[out])
    kept = own > 1e-8 * known
    return np.asarray((alone[:, kept] / np.sqrt(own[kept])).T)
