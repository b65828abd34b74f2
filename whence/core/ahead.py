"""What comes after a value on its ways to the score, for backends that read a program backwards."""

from __future__ import annotations

from enum import IntEnum


class Ahead(IntEnum):
    """Of several ways the greatest counts."""

    NO_SCORE = 0
    NO_AFFINE = 1
    """The score, past no affine operation."""
    AFFINE = 2
