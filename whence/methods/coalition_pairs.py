"""Coalitions and their complements, drawn without replacement, size by size.

Sizes are drawn about equally often, as leverage scores ask (Musco and Witter 2024, arXiv 2410.01917, section 3), sizes
that are all used up leaving their share to the others. Each size has its own random order, so that a larger design
contains a smaller one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations
from math import comb

import numpy as np

from whence.core.sampling import generator

LISTED = 2**15
"""Sizes with up to so many coalitions are listed and shuffled; of larger ones, coalitions are drawn."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """``member[P, F]``, one coalition of each pair, grouped by its size; the other is its complement.

    ``weight[P]`` is the Shapley kernel's weight of each of the two, scaled so that the drawn stand for all of their
    size; ``stratum[P]`` numbers the sizes, ``drawn`` and ``existing`` count the pairs of each.
    """

    member: np.ndarray
    weight: np.ndarray
    stratum: np.ndarray
    drawn: np.ndarray
    existing: np.ndarray

    @cached_property
    def complete(self) -> bool:
        """Whether every coalition is there."""
        return bool((self.drawn == self.existing).all())


@lru_cache(maxsize=16)
def existing_pairs(n: int) -> tuple[int, ...]:
    """Pairs of each size up to half of n features."""
    return tuple(comb(n, s) // (2 if 2 * s == n else 1) for s in range(1, n // 2 + 1))


@lru_cache(maxsize=16)
def pairs(n: int, count: int, seed: int) -> Pairs:
    """The first ``count`` pairs, or all of them, of n >= 2 features."""
    existing = existing_pairs(n)
    drawn = _shares(n, min(count, sum(existing)))
    members, weights, strata = [], [], []
    for i, (number, of) in enumerate(zip(drawn, existing, strict=True)):
        size = i + 1
        mass = (n - 1) / (size * (n - size)) / (2 if 2 * size == n else 1)
        members.append(_stratum(n, size, number, of, seed))
        weights.append(np.full(number, mass / max(number, 1)))
        strata.append(np.full(number, i))
    found = Pairs(
        np.concatenate(members),
        np.concatenate(weights),
        np.concatenate(strata),
        np.array(drawn),
        np.array(existing, dtype=float),
    )
    for array in (found.member, found.weight, found.stratum):
        array.setflags(write=False)
    return found


@lru_cache(maxsize=16)
def _shares(n: int, count: int) -> tuple[int, ...]:
    """How many pairs of each size: equal shares, half of one for half of n, at most what there is."""
    existing = existing_pairs(n)
    wish = np.array([0.5 if 2 * s == n else 1.0 for s in range(1, n // 2 + 1)])
    most = np.array(existing, dtype=float)
    low, high = 0.0, float(count) * 2 + 2
    for _ in range(80):  # the water level that uses up the budget
        level = (low + high) / 2
        low, high = (level, high) if np.minimum(level * wish, most).sum() <= count else (low, level)
    exact = np.minimum(low * wish, most)
    shares = np.floor(exact + 1e-9)
    order = np.lexsort((np.arange(len(wish)), -(exact - shares)))
    for i in order:
        if shares.sum() < count and shares[i] < most[i]:
            shares[i] += 1
    for i in range(len(shares)):  # what rounding left over goes to the smallest sizes that have some left
        shares[i] += max(min(count - shares.sum(), most[i] - shares[i]), 0)
    return tuple(int(s) for s in shares)


def _stratum(n: int, size: int, number: int, existing: int, seed: int) -> np.ndarray:
    """The first coalitions ``[number, n]`` of one size in its random order; of half of n, those with feature 0."""
    half = 2 * size == n
    free, chosen = (n - 1, size - 1) if half else (n, size)
    rng = generator(seed, "coalitions", size, 0)
    if existing <= LISTED:
        picked = _listed(free, chosen)[rng.permutation(existing)[:number]]
    else:
        picked = _distinct(rng, free, chosen, number)
    member = np.zeros((number, n), bool)
    member[np.arange(number)[:, None], picked + half] = True
    if half:
        member[:, 0] = True
    return member


@lru_cache(maxsize=64)
def _listed(n: int, size: int) -> np.ndarray:
    """All subsets of one size, ``[C(n, size), size]``."""
    return np.array(list(combinations(range(n), size)), np.int64).reshape(comb(n, size), size)


def _distinct(rng: np.random.Generator, n: int, size: int, number: int) -> np.ndarray:
    """Different subsets ``[number, size]`` of n, in the order in which they are drawn."""
    seen: dict[bytes, np.ndarray] = {}
    while len(seen) < number:
        drawn = rng.random((number - len(seen), n), dtype=np.float32)
        block = np.sort(np.argsort(drawn, axis=1, kind="stable")[:, :size], axis=1)
        for subset in block:
            seen.setdefault(subset.tobytes(), subset)
    return np.stack(list(seen.values()))
