"""What float32 can keep: by how much rounding alone moves an attribution.

The exact attribution, in float64, is computed again with weights and inputs that are off by up to a unit in the last
place of float32, and with every relu and max-pool on the side on which it falls when PyTorch runs that same model in
float32. How far it moves is a property of the network and the method, whoever computes it: gradients, sums and rules
are in float64 all the time. No computation in float32 can be expected to be nearer to the exact one, and each of two
may be that far from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
DRAWS = 16
LAST_PLACE = 2.0**-23


def by_sample(a: Array, b: Array) -> Array:
    """max|a - b| of each sample, as a share of max|a| over all of them."""
    apart = np.abs(np.asarray(a, np.float64) - b).reshape(len(a), -1).max(axis=1)
    return np.asarray(apart / np.abs(a).max())


def rounded(draw: int | None, model: Any, *arrays: Array) -> tuple[Any, ...]:
    """The model, changed in place, and the arrays, all values off by the seeded ``draw``; as they are if it is None."""
    if draw is None:
        return model, *arrays
    rng = np.random.Generator(np.random.Philox(draw))

    def off(values: Array) -> Array:
        if values.dtype.kind != "f":
            return values
        return np.asarray(values * (1 + LAST_PLACE * rng.uniform(-1, 1, values.shape)), values.dtype)

    if hasattr(model, "get_weights"):
        model.set_weights([off(weight) for weight in model.get_weights()])
    else:
        import torch

        with torch.no_grad():
            for weight in (*model.parameters(), *model.buffers()):
                weight.copy_(torch.from_numpy(off(weight.numpy())))
    return model, *map(off, arrays)


@dataclass(frozen=True)
class Moved:
    """How far each draw moves the attributions of each sample, and what it changes inside the network.

    by: ``[draws, B]``, relative to the largest attribution.
    passed: how many relus and max-pools ``[draws]`` fall otherwise in float32, over all points at which the method
        evaluates the network; -1 where an adaptive rule takes other steps.
    thresholds: of how many; 0 where none are seen, as on other frameworks than PyTorch.
    held: how far the draw that moves most does so when each falls as in the exact run.
    """

    by: Array
    passed: Array
    thresholds: Array
    held: Array

    @property
    def most(self) -> float:
        """By how much rounding alone moves the attributions."""
        return float(self.by.max())

    def reason(self, promised: float) -> str:
        """Why: thresholds, if holding them keeps the promise; else other steps of an adaptive rule, or the formula."""
        if self.passed.any() and self.held <= promised:
            return "rounding passes thresholds"
        return "rounding, other steps" if self.passed.min() < 0 else "rounding, no threshold"


def measure(explain: Callable[[str, int | None], Array], draws: int = DRAWS) -> Moved:
    """From ``explain(dtype, draw)``, attributions ``[B, ...]`` where weights and inputs are off by that draw."""
    from tests.thresholds import Thresholds, count, passed

    with Thresholds() as exact:
        a = explain("float64", None)
    by, otherwise = [], []
    for draw in range(draws):
        with Thresholds() as single:
            if exact.sides:
                explain("float32", draw)
        with Thresholds(held=single.sides):
            by.append(by_sample(a, explain("float64", draw)))
        otherwise.append(passed(exact.sides, single.sides))
    with Thresholds(held=exact.sides):
        held = by_sample(a, explain("float64", int(np.argmax(np.max(by, axis=1))))).max()
    return Moved(np.array(by), np.array(otherwise), np.array(count(exact.sides)), np.array(held))


PART = "/rounded/"


def to_arrays(moved: Mapping[str, Moved]) -> dict[str, Array]:
    """As a process writes them to a file."""
    return {f"{key}{PART}{name}": array for key, m in moved.items() for name, array in vars(m).items()}


@dataclass
class Rounding:
    """``Moved`` by attribution, measured only for those that are asked for, and once.

    find: arrays that ``to_arrays`` made for some keys, from a process of its own.
    """

    find: Callable[[Sequence[str]], Mapping[str, Array]]
    known: dict[str, Moved] = field(default_factory=dict)

    def __call__(self, keys: Sequence[str]) -> Mapping[str, Moved]:
        """Of these and earlier ones."""
        if new := [key for key in keys if key not in self.known]:
            found = self.find(new)
            for key in new:
                self.known[key] = Moved(*(found[f"{key}{PART}{name}"] for name in Moved.__dataclass_fields__))
        return self.known
