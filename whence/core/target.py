"""Which number of the model's output is explained: one score per sample, whatever the output's shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from numbers import Integral
from typing import Any

import numpy as np
from einops import rearrange

from whence.core.errors import ShapeError, TargetError
from whence.core.ops import Ops, Tensor
from whence.core.scores import Score

VALID = ("None, an int, a tuple index into a multi-dimensional output, a sequence of one of these per sample, "
         "a callable outputs -> score[B], or an object of whence.targets")  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A target before the model has run.

    ``fn`` is a callable ``outputs -> score[B]``; ``index[B, n]`` holds one index per sample, n of them for an output
    ``[B, d1, ..., dn]``; with neither, each sample's predicted class is meant, or the value of a single output. With
    both, ``fn`` is a ``Score`` and ``index[B, ...]`` what it knows of each sample. ``together``: all targets, this one
    among them, whose scores come from the same passes of the model.
    """

    fn: Callable[[Tensor], Tensor] | Score | None = None
    index: np.ndarray | None = None
    together: tuple[Target, ...] = ()

    @classmethod
    def parse(cls, target: Any, batch: int) -> Target:
        """Read what the user gave; see ``VALID``."""
        if target is None:
            return cls()
        if isinstance(target, Score):
            return cls(fn=target, index=np.asarray(target.per_sample(batch)))
        if callable(target):
            return cls(fn=target)
        if isinstance(target, Integral):
            return cls(index=np.full((batch, 1), int(target), np.int64))
        if isinstance(target, tuple) and target and all(isinstance(i, Integral) for i in target):
            return cls(index=np.tile(np.array(target, np.int64), (batch, 1)))
        try:
            index = np.asarray(target.detach().cpu() if hasattr(target, "detach") else target)
        except Exception as error:
            raise TargetError("target", received=repr(target), valid=VALID) from error
        if index.dtype.kind not in "iu" or index.ndim not in (0, 1, 2) or index.size == 0:
            raise TargetError("target", received=repr(target), valid=VALID)
        if index.ndim == 0:
            return cls(index=np.full((batch, 1), int(index), np.int64))
        if len(index) != batch:
            raise TargetError(
                f"{len(index)} targets for {batch} samples",
                received=repr(target),
                valid=f"one target, or {batch} of them",
            )
        return cls(index=index.reshape(batch, -1).astype(np.int64))

    @classmethod
    def parse_several(cls, targets: Any, batch: int) -> tuple[Target, ...]:
        """Read a sequence of targets that are explained together."""
        valid = "a sequence of targets, each an int, a tuple index, a sequence of one per sample, or a callable"
        if not isinstance(targets, Sequence | np.ndarray | range) or isinstance(targets, str) or len(targets) == 0:
            raise TargetError("several targets", received=repr(targets), valid=valid)
        found = tuple(cls.parse(target, batch) for target in targets)
        if any(one.key == "predicted" for one in found):
            raise TargetError("several targets", received="None among them", valid=valid)
        return tuple(replace(one, together=found) for one in found)

    def taken(self, rows: Any) -> Target:
        """The target of some samples."""
        index = None if self.index is None else self.index[rows]
        return replace(self, index=index, together=tuple(one.taken(rows) for one in self.together))

    @property
    def classes(self) -> np.ndarray | None:
        """The index ``[B, n]`` of each sample; None where a callable is explained."""
        return self.index if self.fn is None else None

    @property
    def key(self) -> object:
        """What compiled code depends on."""
        if self.together:
            return tuple(one.key for one in self.together)
        return self.fn if self.fn is not None else ("index" if self.index is not None else "predicted")

    def check(self, output_shape: Sequence[int], samples: Sequence[int]) -> None:
        """Raise TargetError, naming the sample and the valid range, for an index outside the output's shape."""
        for one in self.together:
            one.check(output_shape, samples)
        if isinstance(self.fn, Score) and self.index is not None:
            self.fn.check(output_shape, self.index)
        if self.index is None or self.fn is not None:
            return
        sizes = tuple(output_shape[1:]) or (1,)
        if self.index.shape[1] == len(sizes) and self.index.min() >= 0 and (self.index < sizes).all():
            return
        for sample, row in zip(samples, self.index, strict=True):
            if len(row) != len(sizes):
                raise TargetError(
                    f"target {_shown(row)} of sample {sample}",
                    valid=_range(sizes) + "; a list for one target per sample",
                    received=f"outputs of shape {_per_sample(output_shape[1:])}",
                )
            if any(not 0 <= i < size for i, size in zip(row, sizes, strict=True)):
                raise TargetError(
                    f"target {_shown(row)} of sample {sample}",
                    valid=_range(sizes),
                    received=f"outputs of shape {_per_sample(output_shape[1:])}",
                )


def _per_sample(sizes: Sequence[int]) -> str:
    return "[" + ", ".join(["B", *map(str, sizes)]) + "]"


def _shown(row: np.ndarray) -> object:
    return int(row[0]) if len(row) == 1 else tuple(int(i) for i in row)


def _range(sizes: Sequence[int]) -> str:
    if len(sizes) == 1:
        return f"an int from 0 to {sizes[0] - 1}"
    return (
        "a tuple of ints from (" + ", ".join("0" for _ in sizes) + ") to (" + ", ".join(str(s - 1) for s in sizes) + ")"
    )


def select_score(
    ops: Ops, output: Tensor, rows: int, fn: Callable[[Tensor], Tensor] | Score | None, index: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """The score ``[rows]`` of an output ``[rows, ...]``, and the index ``[rows, 1]`` chosen where the target is None.

    The ``index`` of an entry may have as many rows as there are samples, ``rows`` being ``(points samples)``.
    An index out of range is clipped here, so that no device faults, and reported by ``Target.check``.
    """
    shape = ops.shape(output)
    if not shape or shape[0] != rows:
        raise ShapeError(
            "the model's output",
            received=f"shape {shape} for {rows} rows of input",
            valid=f"one row per sample: ({rows}, ...)",
        )
    if fn is not None:
        score = fn.score(ops, output, index) if isinstance(fn, Score) else fn(output)
        if not ops.is_tensor(score) or ops.shape(score) != (rows,):
            received = f"shape {ops.shape(score)}" if ops.is_tensor(score) else type(score).__name__
            raise TargetError("the target callable's score", received=received, valid=f"a tensor of shape ({rows},)")
        return score, None
    flat = output if len(shape) == 2 else rearrange(output, "b -> b 1" if len(shape) == 1 else "b ... -> b (...)")
    sizes = shape[1:] or (1,)
    if index is None:
        if len(sizes) > 1 and prod(sizes) > 1:
            raise TargetError(
                "target None",
                received=f"outputs of shape {_per_sample(shape[1:])}",
                valid=f"{_range(sizes)}, or a callable outputs -> score[B]",
            )
        index = ops.argmax(flat, axis=1, keepdims=True)
        return ops.take_along_axis(flat, index, axis=1)[:, 0], index
    if ops.shape(index)[1] != len(sizes):
        raise TargetError(
            f"a target of {ops.shape(index)[1]} indices",
            received=f"outputs of shape {_per_sample(shape[1:])}",
            valid=_range(sizes),
        )
    place = index[:, 0]
    for axis, size in enumerate(sizes[1:], start=1):
        place = place * size + index[:, axis]
    place = ops.clip(place, 0, prod(sizes) - 1)
    by_sample = rearrange(flat, "(k b) n -> k b n", b=ops.shape(index)[0])
    return rearrange(ops.take_along_axis(by_sample, place[None, :, None], axis=2), "k b 1 -> (k b)"), None
