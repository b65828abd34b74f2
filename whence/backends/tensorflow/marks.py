"""Names by which a traced graph says where layers run, and where a layer's output has an edit."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import tensorflow as tf

from whence.core.layers import Put, Seen
from whence.core.model import Edit
from whence.core.ops import Tensor

SCOPE = "whence_layer_"
"""Begins the name of a layer's scope, its number follows."""
EDIT, PUT, SEEN = "edit", "put", "seen"
"""What an edit does: anything, put another value in the place of what it is given, hand that on."""


class EditMark(NamedTuple):
    """The kind of an edit, and its number."""

    kind: str
    number: int


def marked(edit: Edit, number: int, value: Tensor) -> Tensor:
    """The value, where the edit of that number is to be made."""
    kind = PUT if isinstance(edit, Put) else SEEN if isinstance(edit, Seen) else EDIT
    return tf.identity(value, name=f"whence_{kind}_{number}")


def edit_of(operation: Any) -> EditMark | None:
    """The edit that an operation marks the place of."""
    if operation.type != "Identity":
        return None
    # TensorFlow makes a name unique by another number
    found = re.match(r"whence_(edit|put|seen)_(\d+)(_\d+)?$", operation.name.rpartition("/")[2])
    return None if found is None else EditMark(found[1], int(found[2]))
