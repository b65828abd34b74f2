"""What a table is about: a network of another library, and how the numbers of one are shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple


class Net(NamedTuple):
    """A model that is ready to be explained."""

    model: Any
    x: Any
    parameters: int
    narrow: bool = False
    """Whether the model's own code goes through less than float64 somewhere."""
    options: Mapping[str, Any] = MappingProxyType({})
    """Fields of every method, such as the layer at which the model is attributed."""
    baseline: Any = "zeros"


@dataclass(frozen=True)
class Architecture:
    """One line of a table; ``build`` makes the model."""

    name: str
    library: str
    build: Callable[[], Net]


class Missing(NamedTuple):
    """A library that is not there, and how it comes."""

    library: str
    install: str
