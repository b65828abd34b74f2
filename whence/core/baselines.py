"""Baselines: the reference input that stands for "nothing there".

Wherever a method takes ``baseline``, these are valid: ``"zeros"``, ``"min"``, ``"max"`` and ``"mean"`` (of each
sample's values), ``"blur"`` (images), a number, an array (per sample, or one for all), a callable ``x -> baseline``,
an object of this module, or one of these per input in the inputs' structure.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.core.errors import BaselineError
from whence.core.interpolation import gaussian_matrix
from whence.core.layout import Layout
from whence.core.ops import Ops, Tensor
from whence.core.sampling import Fill, draw, normal, uniform
from whence.core.tree import Structure, flatten
from whence.core.validation import integer, non_negative

if TYPE_CHECKING:
    from whence.core.context import Context

VALID = ('"zeros", "min", "max", "mean", "blur", a number, an array of the input\'s shape, a callable, '
         "a whence.baselines object, or one of these per input")  # fmt: skip


@dataclass(frozen=True)
class Blur:
    """Each image under a Gaussian blur; ``sigma`` in pixels, 0 for none, a tenth of the longest side if not given."""

    sigma: float | None = None

    def __post_init__(self) -> None:
        if self.sigma is not None:
            non_negative("sigma", self.sigma)

    def __call__(self, ops: Ops, x: Tensor, layout: Layout) -> Tensor:
        if not layout.spatial:
            raise BaselineError(
                "a blurred baseline",
                received=f"inputs of shape {ops.shape(x)} of unknown layout",
                valid='images, their layout declared: whence.wrap(model, layout="NHWC")',
            )
        sides = [ops.shape(x)[axis] for axis in layout.spatial]
        sigma = max(sides) / 10 if self.sigma is None else self.sigma
        for axis, side in zip(layout.spatial, sides, strict=True) if sigma else ():
            x = ops.apply_along_axis(ops.asarray(gaussian_matrix(side, sigma), like=x), x, axis)
        return x


class Distribution(ABC):
    """A distribution of baselines; a method that needs a single one takes draw 0 of each sample."""

    seed: int

    @abstractmethod
    def sample(
        self, ops: Ops, x: Tensor, leaf: int, draws: Sequence[int], sample_ids: Sequence[int], layout: Layout
    ) -> np.ndarray:
        """Host values ``[len(draws), len(sample_ids), ...]`` in the place of input ``leaf``, whose batch is ``x``."""


@dataclass(frozen=True)
class Gaussian(Distribution):
    """Independent normal values."""

    mean: float = 0.0
    stdev: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        non_negative("stdev", self.stdev)
        integer("seed", self.seed)

    def sample(
        self, ops: Ops, x: Tensor, leaf: int, draws: Sequence[int], sample_ids: Sequence[int], layout: Layout
    ) -> np.ndarray:
        return self.mean + self.stdev * _draw(normal, self.seed, ops, x, leaf, draws, sample_ids, layout)


@dataclass(frozen=True)
class Uniform(Distribution):
    """Independent values, uniform from ``low`` to ``high``."""

    low: float = 0.0
    high: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        integer("seed", self.seed)

    def sample(
        self, ops: Ops, x: Tensor, leaf: int, draws: Sequence[int], sample_ids: Sequence[int], layout: Layout
    ) -> np.ndarray:
        values = _draw(uniform, self.seed, ops, x, leaf, draws, sample_ids, layout)
        return self.low + (self.high - self.low) * values


def _draw(
    fill: Fill, seed: int, ops: Ops, x: Tensor, leaf: int, draws: Sequence[int], sample_ids: Sequence[int],
    layout: Layout,
) -> np.ndarray:  # fmt: skip
    channel = None if layout.channel is None else layout.channel - 1
    return draw(
        fill,
        ops.shape(x)[1:],
        seed=seed,
        stream=f"baseline/{leaf}",
        samples=sample_ids,
        draws=draws,
        channel_axis=channel,
        dtype=ops.dtype(x),
    )


@dataclass(frozen=True, eq=False)
class DataSet(Distribution):
    """Rows of data in the inputs' structure, ``[M, ...]`` each, or one array for all inputs; of any framework.

    Gradient methods draw rows with replacement; methods that take features away average over all of them.
    """

    data: Any
    seed: int = 0
    arrays: tuple[np.ndarray, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        integer("seed", self.seed)
        object.__setattr__(self, "arrays", tuple(_numbers(leaf) for leaf in flatten(self.data)[0]))

    def sample(
        self, ops: Ops, x: Tensor, leaf: int, draws: Sequence[int], sample_ids: Sequence[int], layout: Layout
    ) -> np.ndarray:
        rows = self.checked(leaf, ops.shape(x))
        place = draw(uniform, (), seed=self.seed, stream="baseline/row", samples=sample_ids, draws=draws)
        return np.asarray(rows[np.minimum((place * len(rows)).astype(int), len(rows) - 1)])

    def __len__(self) -> int:
        return len(self.arrays[0])

    def checked(self, leaf: int, shape: Sequence[int]) -> np.ndarray:
        """The rows for input ``leaf`` of ``shape``; raises BaselineError where they do not fit."""
        missing = np.empty((0, 0))
        rows = self.arrays[0] if len(self.arrays) == 1 else dict(enumerate(self.arrays)).get(leaf, missing)
        if rows.shape[1:] != tuple(shape[1:]) or not len(rows):
            raise BaselineError(
                f"a data set of baselines for inputs of shape {tuple(shape)}",
                received=[a.shape for a in self.arrays],
                valid=f"rows of shape {tuple(shape[1:])} for each input",
            )
        return rows


@dataclass(frozen=True)
class FeatureMean:
    """Each feature at the mean of its own values, channel by channel: the mean colour of a superpixel."""

    def fill(self, values: np.ndarray, mask: np.ndarray, layout: Layout) -> np.ndarray:
        """The baseline of one sample ``[...]`` whose feature numbers ``mask`` broadcast to it."""
        channel = None if layout.channel is None else layout.channel - 1
        channels = values[None] if channel is None else np.moveaxis(values, channel, 0)
        groups = np.broadcast_to(mask, values.shape)
        groups = groups[None] if channel is None else np.moveaxis(groups, channel, 0)
        filled = np.stack([_means(c.astype(np.float64), g) for c, g in zip(channels, groups, strict=True)])
        return filled[0] if channel is None else np.moveaxis(filled, 0, channel)


def _means(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    flat = groups.ravel()
    return np.asarray(np.bincount(flat, values.ravel())[flat] / np.bincount(flat)[flat]).reshape(values.shape)


@dataclass(frozen=True)
class Inpaint:
    """Each feature of an image painted over from its surroundings (biharmonic inpainting of scikit-image).

    A feature is filled in as if it alone were missing; where neighbours are absent together, each still shows a trace
    of the others.
    """

    def fill(self, values: np.ndarray, mask: np.ndarray, layout: Layout) -> np.ndarray:
        """The baseline of one sample ``[...]`` whose feature numbers ``mask`` broadcast to it."""
        from skimage.restoration import inpaint_biharmonic

        if layout.channel is None:
            raise BaselineError("inpainting", received="inputs of unknown layout",
                                valid='images, their layout declared: whence.wrap(model, layout="NHWC")')  # fmt: skip
        channel = layout.channel - 1
        image, groups = np.moveaxis(values, channel, -1), np.moveaxis(mask, channel, -1)[..., 0]
        filled = np.array(image, np.float64)
        for number in np.unique(groups):
            hole = groups == number
            if not hole.all():
                filled[hole] = inpaint_biharmonic(np.asarray(image, np.float64), hole, channel_axis=-1)[hole]
        return np.moveaxis(filled, -1, channel)


def host(a: Any) -> np.ndarray:
    """Any framework's tensor as a NumPy array."""
    return np.asarray(a.detach().cpu() if hasattr(a, "detach") else a)


def _numbers(a: Any) -> np.ndarray:
    """A baseline as an array; None, strings and truth values, which NumPy would cast, are none."""
    values = host(a)
    if values.dtype.kind not in "fiu" and values.dtype.name != "bfloat16":
        raise BaselineError("baseline", received=repr(a), valid=VALID)
    return values


def per_leaf(baseline: Any, structure: Structure) -> tuple[Any, ...]:
    """The baseline of each input: one for all, or one each in the inputs' structure."""
    if isinstance(baseline, (tuple, list, dict)):
        if not structure.matches(baseline):
            raise BaselineError(
                "one baseline per input",
                received=f"a {type(baseline).__name__} of {len(baseline)}",
                valid=f"the inputs' structure, {', '.join(structure.names)}",
            )
        return flatten(baseline)[0]
    return (baseline,) * len(structure.names)


def resolve(baseline: Any, ops: Ops, x: Tensor, *, leaf: int, layout: Layout, sample_ids: Sequence[int]) -> Tensor:
    """The baseline of one input as a native tensor of the input's shape ``[B, ...]``."""
    shape, axes = ops.shape(x), tuple(range(1, len(ops.shape(x))))
    if isinstance(baseline, str):
        if baseline == "zeros":
            return ops.zeros_like(x)
        if baseline in ("min", "max", "mean"):
            if baseline == "mean" and not ops.is_floating(x):
                raise BaselineError("baseline", received="'mean' for whole numbers", valid=VALID)
            return ops.broadcast_to(getattr(ops, baseline)(x, axis=axes, keepdims=True), shape)
        if baseline != "blur":
            raise BaselineError("baseline", received=repr(baseline), valid=VALID)
        baseline = Blur()
    if isinstance(baseline, FeatureMean | Inpaint):
        raise BaselineError(f"baseline {baseline!r}", received="a method without features", valid=VALID)
    if isinstance(baseline, Blur):
        if not ops.is_floating(x):
            raise BaselineError("a blurred baseline", received=f"inputs of {ops.dtype(x)}", valid=VALID)
        return baseline(ops, x, layout)
    if isinstance(baseline, Distribution):
        drawn = baseline.sample(ops, x, leaf, [0], sample_ids, layout)[0]
        return ops.asarray(drawn, like=x, dtype=ops.dtype(x))
    if isinstance(baseline, Real) and not isinstance(baseline, bool):
        number = float(baseline)
        if not ops.is_floating(x) and number != round(number):
            raise BaselineError(f"a baseline for inputs of {ops.dtype(x)}", received=repr(baseline), valid="an int")
        return ops.full_like(x, number if ops.is_floating(x) else round(number))
    if callable(baseline):
        baseline = baseline(x)
    try:
        value = baseline if ops.is_tensor(baseline) else ops.asarray(_numbers(baseline), like=x, dtype=ops.dtype(x))
    except (TypeError, ValueError) as error:
        raise BaselineError("baseline", received=type(baseline).__name__, valid=VALID) from error
    if ops.shape(value) not in (shape, (1, *shape[1:]), shape[1:], ()):
        raise BaselineError(
            f"a baseline for inputs of shape {shape}",
            received=f"an array of shape {ops.shape(value)}",
            valid=f"shape {shape}, {(1, *shape[1:])} or {shape[1:]}",
        )
    return ops.broadcast_to(ops.stop_gradient(ops.asarray(value, like=x, dtype=ops.dtype(x))), shape)


def resolved_rows(ctx: Context, spec: Any, x: Tensor, leaf: int, rows: slice) -> Tensor:
    """The baseline of one input for some of the context's samples, ``[b, ...]``."""
    given = _of_rows(ctx, spec, x, rows)
    layout = ctx.model.layout(len(ctx.ops.shape(x)))
    return resolve(given, ctx.ops, x[rows], leaf=leaf, layout=layout, sample_ids=ctx.sample_ids[rows])


def _of_rows(ctx: Context, spec: Any, x: Tensor, rows: slice) -> Any:
    """A baseline with one row per sample of the user's batch, arranged like these rows of the context."""
    if callable(spec) or tuple(getattr(spec, "shape", ())) != (max(ctx.positions) + 1, *ctx.ops.shape(x)[1:]):
        return spec
    return _numbers(spec)[list(ctx.positions[rows])]


def at_place(ctx: Context, baseline: Any) -> tuple[Tensor, ...]:
    """The baseline in the place of ``ctx.x``: at the inputs, or the layer's activation for the baseline inputs."""
    specs = per_leaf(baseline, ctx.place.structure)
    wanted = range(len(ctx.inputs)) if ctx.place.layer else ctx.place.leaves
    points = tuple(ctx.x) if ctx.place.layer is None else ctx.inputs
    found = tuple(
        resolve(_of_rows(ctx, specs[leaf], x, slice(None)), ctx.ops, x, leaf=leaf,
                layout=ctx.model.layout(len(ctx.ops.shape(x))), sample_ids=ctx.sample_ids)
        for leaf, x in zip(wanted, points, strict=True)
    )  # fmt: skip
    return found if ctx.place.layer is None else tuple(ctx.activations(found, [ctx.place.layer]))


def draws_at_place(ctx: Context, baseline: Any, points: range, samples: slice) -> tuple[np.ndarray, ...]:
    """Draws ``[k, b, ...]`` of a baseline distribution in the place of ``ctx.x``, one array per attributed tensor."""
    specs, ops, ids = per_leaf(baseline, ctx.place.structure), ctx.ops, ctx.sample_ids[samples]
    wanted = range(len(ctx.inputs)) if ctx.place.layer else ctx.place.leaves
    values = ctx.inputs if ctx.place.layer else ctx.x
    found = []
    for leaf, x in zip(wanted, values, strict=True):
        layout = ctx.model.layout(len(ops.shape(x)))
        if isinstance(specs[leaf], Distribution):
            drawn = specs[leaf].sample(ops, x[samples], leaf, points, ids, layout)
            found.append(drawn.astype(np.float64) if drawn.dtype.kind in "iu" and ops.is_floating(x) else drawn)
        else:
            one = resolved_rows(ctx, specs[leaf], x, leaf, samples)
            found.append(np.repeat(ops.to_numpy(one)[None], len(points), axis=0))
    if ctx.place.layer is None:
        return tuple(found)
    rows = tuple(
        ops.asarray(f.reshape(-1, *f.shape[2:]), like=x, dtype=ops.dtype(x)) for f, x in zip(found, values, strict=True)
    )
    drawn = ops.to_numpy(ctx.activations(rows, [ctx.place.layer])[0])
    return (drawn.reshape(len(points), len(ids), *drawn.shape[1:]),)
