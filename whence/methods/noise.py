"""Any method averaged over noisy copies of the input.

SmoothGrad: E over noise of a(x + noise) (Smilkov et al. 2017, arXiv 1706.03825, section 3).
SmoothGrad squared: E of a(x + noise)^2 (Hooker et al. 2019, arXiv 1806.10758, section 4).
VarGrad: variance of a(x + noise) (Adebayo et al. 2018, arXiv 1810.03292, appendix).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from einops import rearrange

from whence.core.accumulate import HigherMoments, Moments, sum_dtype
from whence.core.batching import tile_points
from whence.core.context import Context
from whence.core.errors import ParameterError
from whence.core.method import Attribution, Method
from whence.core.ops import Ops, Tensor
from whence.core.sampling import normal
from whence.core.validation import integer, non_negative, one_of, positive_int
from whence.methods.gradient import Saliency

KINDS = ("smoothgrad", "smoothgrad_squared", "vargrad")


@dataclass(frozen=True, kw_only=True, repr=False)
class NoiseTunnel(Method):
    """Any method, ``inner``, over ``n_samples`` noisy copies of the input: ``[B, ...]``, with its standard error.

    ``kind``: ``"smoothgrad"`` (mean), ``"smoothgrad_squared"`` (mean of squares) or ``"vargrad"`` (variance).
    ``stdev``: of the noise, as a share of each sample's range (max - min) where ``relative``, else absolute.
    The layer and the neuron are those of ``inner`` unless given here; at a layer, the noise is added to its output.

    Source: Smilkov et al. 2017, arXiv 1706.03825; Hooker et al. 2019, arXiv 1806.10758; Adebayo et al. 2018,
    arXiv 1810.03292.
    """

    name: ClassVar[str] = "noise_tunnel"

    inner: Method = field(default_factory=Saliency)
    kind: str = "smoothgrad"
    n_samples: int = 25
    stdev: float = 0.15
    relative: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        positive_int("n_samples", self.n_samples)
        non_negative("stdev", self.stdev)
        integer("seed", self.seed)
        one_of("kind", self.kind, KINDS)
        if not isinstance(self.inner, Method):
            raise ParameterError(
                "inner method of a noise tunnel", received=repr(self.inner), valid="a method such as Saliency()"
            )
        for name in ("layer", "neuron"):
            inner, outer = getattr(self.inner, name), getattr(self, name)
            if inner is not None and outer not in (None, inner):
                raise ParameterError(
                    f"{name} of a noise tunnel",
                    received=f"{outer!r} around a method at {inner!r}",
                    valid="the same for both",
                )
            object.__setattr__(self, name, inner if outer is None else outer)

    @property
    def needs_gradient(self) -> bool:  # type: ignore[override]
        return self.inner.needs_gradient

    def compute(self, ctx: Context) -> Attribution:
        ops, rows = ctx.ops, ctx.rows(gradient=True)
        moments: Any = HigherMoments if self.kind == "vargrad" else Moments
        scale = tuple(self._scale(ops, x) for x in ctx.x)
        step = tile_points(self.n_samples, min(ctx.batch, rows), rows, stretch=not ctx.work.fixed_rows)
        found: list[Any] = []
        for start in range(0, self.n_samples, step):
            draws = range(start, min(start + step, self.n_samples))
            noisy = tuple(self._noisy(ctx, leaf, scale[leaf], draws) for leaf in range(len(ctx.x)))
            values = self.inner.compute(ctx.repeated(noisy, draws)).values
            new = [moments.of(ops, self._terms(ops, v, len(draws))) for v in values]
            found = [a.merge(b) for a, b in zip(found, new, strict=True)] if found else new
        if self.kind == "vargrad":
            errors = tuple(m.variance_std_error(ops) for m in found)
            return Attribution(tuple(m.low.variance for m in found), std_error=errors)
        return Attribution(tuple(m.mean for m in found), std_error=tuple(m.std_error(ops) for m in found))

    def _scale(self, ops: Ops, x: Tensor) -> Any:
        if not self.relative:
            return self.stdev
        axes = tuple(range(1, len(ops.shape(x))))
        return (
            self.stdev * (ops.max(x, axis=axes, keepdims=True) - ops.min(x, axis=axes, keepdims=True)) if axes else 0.0
        )

    def _noisy(self, ctx: Context, leaf: int, scale: Any, draws: range) -> Tensor:
        noise = ctx.draw(normal, seed=self.seed, stream="noise_tunnel", draws=draws, samples=slice(None), leaf=leaf)
        return rearrange(ctx.x[leaf] + scale * ctx.like(noise, leaf), "k b ... -> (k b) ...")

    def _terms(self, ops: Ops, values: Tensor, draws: int) -> Tensor:
        """What is averaged, ``[k, b, ...]``."""
        values = rearrange(ops.astype(values, sum_dtype(ops.dtype(values))), "(k b) ... -> k b ...", k=draws)
        return values * values if self.kind == "smoothgrad_squared" else values


@dataclass(frozen=True, kw_only=True, repr=False)
class SmoothGrad(NoiseTunnel):
    """The mean gradient over noisy copies. Source: Smilkov et al. 2017, arXiv 1706.03825."""

    name: ClassVar[str] = "smooth_grad"

    kind: str = field(default="smoothgrad", init=False)


@dataclass(frozen=True, kw_only=True, repr=False)
class SmoothGradSquared(NoiseTunnel):
    """The mean squared gradient over noisy copies. Source: Hooker et al. 2019, arXiv 1806.10758."""

    name: ClassVar[str] = "smooth_grad_squared"

    kind: str = field(default="smoothgrad_squared", init=False)


@dataclass(frozen=True, kw_only=True, repr=False)
class VarGrad(NoiseTunnel):
    """The variance of the gradient over noisy copies. Source: Adebayo et al. 2018, arXiv 1810.03292."""

    name: ClassVar[str] = "var_grad"

    kind: str = field(default="vargrad", init=False)
