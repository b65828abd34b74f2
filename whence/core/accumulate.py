"""Running sums and moments that stay exact over thousands of chunks: compensated, and wide enough for half types."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whence.core.ops import Ops, Tensor

HALF = ("float16", "bfloat16")


def sum_dtype(dtype: str) -> str:
    """The element type in which values of ``dtype`` are added up."""
    return "float32" if dtype in HALF else dtype


@dataclass(frozen=True)
class Sum:
    """Kahan's compensated sum of tensors of one shape; ``lost`` is what rounding has taken so far."""

    total: Tensor
    lost: Tensor | None = None

    def add(self, term: Tensor) -> Sum:
        """The sum with one more term."""
        term = term if self.lost is None else term - self.lost
        total = self.total + term
        return Sum(total, (total - self.total) - term)

    def first(self, samples: int) -> Sum:
        """The sum of the first samples, without padding."""
        return Sum(self.total[:samples])


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations, merged part by part (Chan, Golub and LeVeque 1979)."""

    count: int
    mean: Tensor
    deviations: Tensor

    @classmethod
    def of(cls, ops: Ops, values: Tensor) -> Moments:
        """The moments over the first axis."""
        count = ops.shape(values)[0]
        each = ops.asarray(np.ones(count), like=values, dtype=ops.dtype(values))
        mean = ops.weighted_sum(each, values) / count
        return cls(count, mean, ops.weighted_sum(each, (values - mean) ** 2))

    def merge(self, other: Moments) -> Moments:
        """The moments of both parts together."""
        n, step = self.count + other.count, other.mean - self.mean
        share = other.count / n
        return Moments(
            n, self.mean + step * share, self.deviations + other.deviations + step * step * (self.count * share)
        )

    def first(self, samples: int) -> Moments:
        """The moments of the first samples, without padding."""
        return Moments(self.count, self.mean[:samples], self.deviations[:samples])

    @property
    def variance(self) -> Tensor:
        """The population variance."""
        return self.deviations / self.count

    def std_error(self, ops: Ops) -> Tensor:
        """Standard error of the mean; NaN for a single draw, which tells nothing of it."""
        if self.count < 2:
            return self.deviations * float("nan")
        return ops.sqrt(self.deviations / (self.count * (self.count - 1)))


@dataclass(frozen=True)
class HigherMoments:
    """Moments with the sums of third and fourth powers of deviations, merged part by part (Pébay 2008)."""

    low: Moments
    third: Tensor
    fourth: Tensor

    @classmethod
    def of(cls, ops: Ops, values: Tensor) -> HigherMoments:
        """The moments over the first axis."""
        low = Moments.of(ops, values)
        d = values - low.mean
        return cls(low, ops.sum(d**3, axis=0), ops.sum(d**4, axis=0))

    def merge(self, other: HigherMoments) -> HigherMoments:
        """The moments of both parts together."""
        a, b, m2a, m2b = self.low.count, other.low.count, self.low.deviations, other.low.deviations
        n, step = a + b, other.low.mean - self.low.mean
        third = self.third + other.third + step**3 * (a * b * (a - b) / n**2) + 3 * step * (a * m2b - b * m2a) / n
        fourth = (
            self.fourth
            + other.fourth
            + step**4 * (a * b * (a * a - a * b + b * b) / n**3)
            + 6 * step**2 * (a * a * m2b + b * b * m2a) / n**2
            + 4 * step * (a * other.third - b * self.third) / n
        )
        return HigherMoments(self.low.merge(other.low), third, fourth)

    def variance_std_error(self, ops: Ops) -> Tensor:
        """Standard error of the variance, the mean of squared deviations: sqrt((m4 - m2^2) / (n - 1))."""
        n = self.low.count
        if n < 2:
            return self.fourth * float("nan")
        spread = self.fourth / n - self.low.variance**2
        return ops.sqrt(ops.maximum(spread, ops.zeros_like(spread)) / (n - 1))
