"""The search for an anchor: a short rule under which a prediction hardly changes, found by beam search and KL-LUCB.

Ribeiro, Singh and Guestrin 2018, AAAI, doi 10.1609/aaai.v32i1.11491, algorithms 1 and 2; bounds and exploration:
Kaufmann and Kalyanakrishnan 2013, PMLR 30. The precision that is reported comes from draws of its own, since a rule
that was chosen for its draws looks better on them than it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import log

import numpy as np

Rule = tuple[int, ...]
Sampler = Callable[[Sequence[Rule], int], np.ndarray]
"""``sampler(rules, count)[rules, count]``: whether the prediction stays for draws that satisfy each rule."""


@dataclass(frozen=True)
class Search:
    """What is asked of a rule, and how it is looked for."""

    threshold: float
    delta: float
    tau: float
    batch: int
    beam: int
    longest: int | None
    check: int


@dataclass(frozen=True)
class Found:
    """A rule, its precision on fresh draws with bounds that hold with probability 1 - delta, and its coverage."""

    rule: Rule
    precision: float
    low: float
    high: float
    coverage: float
    reached: bool
    """Whether the search took it for precise enough."""


@dataclass
class Counts:
    """Draws so far: of each rule, how many and how many of them kept the prediction."""

    sampler: Sampler
    drawn: dict[Rule, int] = field(default_factory=dict)
    kept: dict[Rule, int] = field(default_factory=dict)

    def draw(self, rules: Sequence[Rule], count: int) -> None:
        """Draw so many more for each."""
        for rule, agrees in zip(rules, self.sampler(rules, count), strict=True):
            self.drawn[rule] = self.drawn.get(rule, 0) + count
            self.kept[rule] = self.kept.get(rule, 0) + int(agrees.sum())

    def mean(self, rule: Rule) -> float:
        """The share that kept the prediction."""
        return self.kept[rule] / self.drawn[rule]

    def bound(self, rule: Rule, beta: float, *, upper: bool) -> float:
        """The largest, or smallest, precision whose divergence from the mean is within beta / draws."""
        return kl_bound(self.mean(rule), beta / self.drawn[rule], upper=upper)


def kl_bound(mean: float, level: float, *, upper: bool) -> float:
    """The q on one side of ``mean`` with KL(mean, q) = level, by bisection."""
    inside, outside = mean, 1.0 if upper else 0.0
    for _ in range(40):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if divergence(mean, middle) <= level else (inside, middle)
    return inside


def divergence(p: float, q: float) -> float:
    """Kullback-Leibler divergence of two Bernoulli distributions."""
    p, q = min(max(p, 1e-12), 1 - 1e-12), min(max(q, 1e-12), 1 - 1e-12)
    return p * log(p / q) + (1 - p) * log((1 - p) / (1 - q))


def search(settings: Search, size: int, sampler: Sampler, coverage: Callable[[Rule], float]) -> Found:
    """The rule of largest coverage among the precise ones; the most precise that was looked at if there is none."""
    counts = Counts(sampler)
    best: Rule | None = None
    looked: list[Rule] = [()]
    if _precise(settings, counts, (), size):
        return _checked(settings, sampler, (), coverage, reached=True)
    beam: list[Rule] = [()]
    for _ in range(min(settings.longest or size, size)):
        longer = dict.fromkeys(tuple(sorted({*rule, i})) for rule in beam for i in range(size) if i not in rule)
        candidates = [rule for rule in longer if best is None or coverage(rule) > coverage(best)]
        if not candidates:
            break
        beam = _most_precise(settings, counts, candidates, size)
        looked += beam
        for rule in beam:
            wider = best is None or coverage(rule) > coverage(best)
            if wider and _precise(settings, counts, rule, size):
                best = rule
    chosen = best if best is not None else max(looked, key=lambda rule: (counts.mean(rule), coverage(rule)))
    return _checked(settings, sampler, chosen, coverage, reached=best is not None)


def _precise(settings: Search, counts: Counts, rule: Rule, size: int) -> bool:
    """Whether the rule's precision is at least the threshold, drawing until its bounds say so or not."""
    beta = log((1 + (settings.beam - 1) * size) / settings.delta)
    if rule not in counts.drawn:
        counts.draw([rule], settings.batch)
    while counts.drawn[rule] < 200 * settings.batch:
        above = counts.mean(rule) >= settings.threshold
        bound = counts.bound(rule, beta, upper=not above)
        if (above and bound >= settings.threshold) or (not above and bound < settings.threshold):
            break
        counts.draw([rule], settings.batch)
    return counts.mean(rule) >= settings.threshold


def _most_precise(settings: Search, counts: Counts, rules: list[Rule], size: int) -> list[Rule]:
    """The ``beam`` most precise rules, right to within ``tau`` with probability 1 - delta (KL-LUCB)."""
    counts.draw([rule for rule in rules if rule not in counts.drawn], settings.batch)
    top, delta = min(settings.beam, len(rules)), settings.delta / (1 + (settings.beam - 1) * size)
    for step in range(1, 1000):
        ranked = sorted(rules, key=lambda rule: -counts.mean(rule))
        best, rest = ranked[:top], ranked[top:]
        if not rest:
            break
        beta = _exploration(len(rules), step, delta)
        weakest = min(best, key=lambda rule: counts.bound(rule, beta, upper=False))
        rival = max(rest, key=lambda rule: counts.bound(rule, beta, upper=True))
        gap = counts.bound(rival, beta, upper=True) - counts.bound(weakest, beta, upper=False)
        if gap <= settings.tau:
            break
        counts.draw([weakest, rival], settings.batch)
    return sorted(rules, key=lambda rule: -counts.mean(rule))[:top]


def _exploration(rules: int, step: int, delta: float) -> float:
    """The exploration rate of KL-LUCB, with the constants of Kaufmann and Kalyanakrishnan, theorem 1."""
    rate = log(405.5 * rules * step**1.1 / delta)
    return rate + log(rate)


def _checked(
    settings: Search, sampler: Sampler, rule: Rule, coverage: Callable[[Rule], float], *, reached: bool
) -> Found:
    """The rule with its precision on draws that had no part in choosing it."""
    counts = Counts(sampler)
    counts.draw([rule], settings.check)
    beta = log(2 / settings.delta)
    low, high = counts.bound(rule, beta, upper=False), counts.bound(rule, beta, upper=True)
    return Found(rule, counts.mean(rule), low, high, coverage(rule), reached)
