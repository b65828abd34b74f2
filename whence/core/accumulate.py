"""Running sums and moments that stay exact over thousands of chunks: compensated, and wide enough for half types."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations, merged part by part (Chan, Golub and LeVeque 1979)."""

    count: int
    mean: Tensor
    deviations: Tensor

    def merge(self, other: Moments) -> Moments:
        """The moments of both parts together."""
        count = self.count + other.count
        step = other.mean - self.mean
        share = other.count / count
        return Moments(
            count, self.mean + step * share, self.deviations + other.deviations + step * step * (self.count * share)
        )

    @property
    def variance(self) -> Tensor:
        """The population variance."""
        return self.deviations / self.count

    def std_error(self, ops: Ops) -> Tensor:
        """Standard error of the mean; infinite knowledge is not claimed from one draw: NaN there."""
        if self.count < 2:
            return self.deviations * float("nan")
        return ops.sqrt(self.deviations / (self.count * (self.count - 1)))
