"""What float32 can keep: by how much rounding alone moves an attribution.

The exact attribution, in float64, is computed again with weights and inputs that are off by up to a unit in the last
place of float32. How far it moves is a property of the network and the method. No computation in float32 can be
expected to be nearer to the exact one, and each of two may be that far from it.
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
        assert values.dtype == np.float64, "only float64 shows what float32 loses"
        return np.asarray(values * (1 + LAST_PLACE * rng.uniform(-1, 1, values.shape)))

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
    passed: relus and max-pools ``[draws]`` that fall to another side than in the exact run; -1 where a draw takes
        other steps. All points at which the method evaluates the network are looked at.
    thresholds: how many there are; 0 where none are seen, as is so on other frameworks than PyTorch.
    held: how far the draw that moves most moves the attributions when every relu and max-pool is held to its exact side.
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
        """Why: thresholds where holding them keeps the promise."""
        if self.held <= promised < self.most:
            return "rounding passes thresholds"
        return "rounding takes other steps" if self.passed.min() < 0 else "rounding alone"


def measure(explain: Callable[[int | None], Array]) -> Moved:
    """From ``explain(draw)``, attributions ``[B, ...]`` in float64, the exact ones for None."""
    from tests.thresholds import Thresholds

    with Thresholds() as exact_run:
        exact = explain(None)
    by, passed = [], []
    for draw in range(DRAWS):
        with Thresholds(as_in=exact_run.sides) as run:
            by.append(by_sample(exact, explain(draw)))
        passed.append(run.passed if run.calls == exact_run.calls and run.comparable else -1)
    largest = int(np.argmax(np.max(by, axis=1)))
    held = np.inf
    if passed[largest] > 0:
        with Thresholds(as_in=exact_run.sides, hold=True):
            held = by_sample(exact, explain(largest)).max()
    return Moved(np.array(by), np.array(passed), np.array(exact_run.seen), np.array(held))


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
