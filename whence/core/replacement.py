"""What stands in the place of absent features: one baseline per sample, or every row of a background data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.core import baselines
from whence.core.baselines import DataSet, FeatureMean, Inpaint, per_leaf
from whence.core.errors import BaselineError

if TYPE_CHECKING:
    from whence.core.context import Context, Leaves
    from whence.core.grouping import Grouping

Rows = Callable[[range, slice], tuple[np.ndarray, ...]]


@dataclass(frozen=True)
class Replacement:
    """Either ``samples``, tensors like ``ctx.x``, or ``count`` background ``rows`` over which scores are averaged.

    ``rows(points, samples)`` gives row p modulo ``count`` for point p: ``[k, b or 1, ...]`` for each tensor.
    """

    samples: tuple[Leaves, ...]
    rows: tuple[Rows, ...] = ()
    count: int = 1


def find(ctx: Context, baseline: Any, grouping: Grouping | None = None) -> Replacement:
    """The replacement that a ``baseline`` field means, in the place of ``ctx.x``."""
    specs = per_leaf(baseline, ctx.place.structure)
    if any(isinstance(spec, DataSet) for spec in specs):
        return _background(ctx, baseline, specs)
    if any(isinstance(spec, FeatureMean | Inpaint) for spec in specs):
        return Replacement((_from_features(ctx, specs, grouping),))
    return Replacement((baselines.at_place(ctx, baseline),))


def _background(ctx: Context, baseline: Any, specs: tuple[Any, ...]) -> Replacement:
    ops, place = ctx.ops, ctx.place
    sizes = {len(spec) for spec in specs if isinstance(spec, DataSet)}
    if len(sizes) > 1:
        raise BaselineError(
            "background data sets", received=f"{sorted(sizes)} rows", valid="as many rows for each input"
        )
    count = sizes.pop()
    wanted = range(len(ctx.inputs)) if place.layer else place.leaves
    points = ctx.inputs if place.layer else ctx.x

    def rows_of(leaf: int, x: Any, row: np.ndarray, samples: slice) -> np.ndarray:
        if isinstance(specs[leaf], DataSet):
            return np.asarray(specs[leaf].checked(leaf, ops.shape(x))[row][:, None])
        one = baselines.resolved_rows(ctx, specs[leaf], x, leaf, samples)
        return np.broadcast_to(ops.to_numpy(one)[None], (len(row), *ops.shape(one)))

    def rows(which: range, samples: slice) -> tuple[np.ndarray, ...]:
        row = np.arange(which.start, which.stop) % count
        found = [rows_of(leaf, x, row, samples) for leaf, x in zip(wanted, points, strict=True)]
        if place.layer is None:
            return tuple(_numbers_like(ops.is_floating(x), f) for f, x in zip(found, points, strict=True))
        wide = max(f.shape[1] for f in found)  # as many versions of each row as samples, or one for all
        flat = tuple(
            ops.asarray(np.repeat(f, wide // f.shape[1], axis=1).reshape(-1, *f.shape[2:]), like=x, dtype=ops.dtype(x))
            for f, x in zip(found, points, strict=True)
        )
        drawn = ops.to_numpy(ctx.activations(flat, [place.layer])[0])
        return (drawn.reshape(len(row), -1, *drawn.shape[1:]),)

    return Replacement((), (rows,), count)


def _numbers_like(floating: bool, values: np.ndarray) -> np.ndarray:
    """Whole numbers as floating-point ones where the input is, so that the framework may cast them."""
    return values.astype(np.float64) if floating and values.dtype.kind in "iu" else values


def _from_features(ctx: Context, specs: tuple[Any, ...], grouping: Grouping | None) -> Leaves:
    """Baselines that are made from each sample's own features."""
    if grouping is None or ctx.place.layer is not None:
        raise BaselineError(
            "a baseline made from features", received="a method without features of the inputs", valid=baselines.VALID
        )
    plain = baselines.at_place(
        ctx, tuple("zeros" if isinstance(s, FeatureMean | Inpaint) else s for s in specs) if len(specs) > 1 else "zeros"
    )
    found = []
    for i, leaf in enumerate(ctx.place.leaves):
        spec, x = specs[leaf], ctx.x[i]
        if not isinstance(spec, FeatureMean | Inpaint):
            found.append(plain[i])
            continue
        host = ctx.ops.to_numpy(x)
        layout = ctx.layout(i)
        mask = np.broadcast_to(grouping.masks[i], (len(host), *grouping.masks[i].shape[1:]))
        filled = np.stack([spec.fill(v, m, layout) for v, m in zip(host, mask, strict=True)])
        found.append(ctx.ops.asarray(filled, like=x, dtype=ctx.ops.dtype(x)))
    return tuple(found)
