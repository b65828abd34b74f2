"""Does the model mix the samples of a batch? Then no attribution of one sample can be trusted among others."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from whence.core.accumulate import HALF
from whence.core.errors import BatchMixingWarning, warn_user
from whence.core.ops import Ops, Tensor

if TYPE_CHECKING:
    from whence.core.context import Context


def warn_if_mixing(ctx: Context, call: Callable[..., Any], arguments: tuple[Any, ...], score: Tensor) -> None:
    """Does one row's score change when the other rows are replaced by it? Asked until it is known for the model."""
    store, key = ctx.model.store, (ctx.model.key, "mixing")
    verdict = store.get(key, str) if key in store else _mixing(ctx, call, arguments, score)
    if verdict is not None and store.get(key, lambda: verdict):
        warn_user(verdict, BatchMixingWarning)


def _mixing(ctx: Context, call: Callable[..., Any], arguments: tuple[Any, ...], score: Tensor) -> str | None:
    """The warning for a model that mixes the samples of a batch; empty if it does not, None where rows are alike."""
    ops, (k, b) = ctx.ops, ctx.ops.shape(score)[:2]
    if not _differ(ops, score):
        return None
    if not ops.static_shapes:
        # two rows are enough where a new shape costs nothing; the last points of a path differ most
        k, b = (1, 2) if b > 1 else (2, 1)
        arguments = _map_rows(arguments, lambda x: x[:b], lambda x: x[-k:, :b], lambda x: x[-k:])
        score = call(*arguments)[1]
        if not _differ(ops, score):
            return None
    copies = _map_rows(
        arguments,
        lambda x: ops.broadcast_to(x[:1], ops.shape(x)),
        lambda x: ops.broadcast_to(x[:1, :1], ops.shape(x)),
        lambda x: ops.broadcast_to(x[:1], ops.shape(x)),
    )
    alone = call(*copies)[1]
    ctx.work.forward_rows += k * b * (1 if ops.static_shapes else 2)
    together, apart = (float(ops.to_numpy(s).reshape(-1)[0]) for s in (score, alone))
    scale = float(np.abs(np.asarray(ops.to_numpy(score), np.float64)).max())
    if abs(together - apart) <= (5e-2 if ops.dtype(score) in HALF else 1e-3) * scale:
        return ""
    return (
        "The model's output for one sample depends on the other samples of the batch: its score was "
        f"{together:.6g} among others and {apart:.6g} among copies of itself. Attributions then depend on the batch "
        "as well; use batch_size=1, or a model without statistics over the batch."
    )


def _differ(ops: Ops, score: Tensor) -> bool:
    """Whether the rows are told apart by their finite scores, so that mixing them would show."""
    values = np.asarray(ops.to_numpy(score), np.float64)
    return bool(np.isfinite(values).all() and np.ptp(values) > 0)


def _map_rows(
    arguments: tuple[Any, ...], per_sample: Callable[[Tensor], Tensor], per_row: Callable[[Tensor], Tensor],
    per_point: Callable[[Tensor], Tensor],
) -> tuple[Any, ...]:  # fmt: skip
    """The leaf's arguments with the samples, the draws ``[k, b, ...]`` and the draws ``[k]`` replaced."""
    fixed, rows, draws, weights, index = arguments

    def sample(x: Tensor | None) -> Tensor | None:
        return None if x is None else per_sample(x)

    def draw(x: Any) -> Any:
        return tuple(map(draw, x)) if isinstance(x, tuple) else (per_row(x) if len(x.shape) > 1 else per_point(x))

    return (
        tuple(map(sample, fixed)),
        [tuple(map(sample, leaves)) for leaves in rows],
        tuple(map(draw, draws)),
        per_point(weights),
        tuple(map(sample, index)) if isinstance(index, tuple) else sample(index),
    )
