"""Axis orders of images and signals: declared by the user or known from the framework, never guessed from sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from whence.core.errors import ParameterError

LAYOUTS = ("NCHW", "NHWC", "NCDHW", "NDHWC", "NCL", "NLC")


@dataclass(frozen=True)
class Layout:
    """Where channels and spatial axes stand in ``[B, ...]``; both empty where nothing is known.

    ``channel`` and ``spatial`` count from the batch axis, 0.
    """

    channel: int | None = None
    spatial: tuple[int, ...] = ()

    @classmethod
    def find(cls, name: str | None, rank: int, *, declared: bool) -> Self:
        """The layout for tensors of ``rank`` axes.

        A framework's convention, ``"NCHW"`` say, stands for its family (``"NCDHW"`` at rank 5), but not for
        rank 3, where sequences of features would be mistaken for signals; those have to be declared.
        """
        if name is None:
            return cls()
        if name not in LAYOUTS:
            raise ParameterError("layout", received=name, valid=f"one of {', '.join(LAYOUTS)}")
        if rank < (3 if declared and len(name) == 3 else 4):
            return cls()
        first = name[1] == "C"
        spatial = tuple(range(2, rank)) if first else tuple(range(1, rank - 1))
        return cls(1 if first else rank - 1, spatial)
