"""A check has a name and fails with what was expected and what came."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

ROUNDING = {"float32": 3e-6, "float64": 1e-14}
"""Allowed difference of one operation, relative to the largest expected value."""
AGREEMENT = {"float32": 1e-5, "float64": 1e-10}
"""Allowed difference of whole attributions."""


@dataclass(frozen=True)
class Check:
    """One named check; calling it raises AssertionError with its name, what was expected and what came."""

    name: str
    body: Callable[[], None]

    def __call__(self) -> None:
        try:
            self.body()
        except AssertionError as error:
            raise AssertionError(f"{self.name}: {error}") from error
        except Exception as error:
            came = f"{type(error).__name__}: {error}"
            raise AssertionError(f"{self.name}: expected no error. Came: {came}") from error

    def __str__(self) -> str:
        return self.name


def run_all(subject: str, checks: Iterable[Check], skip: Collection[str]) -> None:
    """Run the checks whose names contain none of ``skip``; one AssertionError lists all failures."""
    failed, count = [], 0
    for check in selected(checks, skip):
        count += 1
        try:
            check()
        except AssertionError as error:
            failed.append(error)
    if failed:
        listed = "\n".join(f"- {error}" for error in failed)
        raise AssertionError(f"{subject}: {len(failed)} of {count} checks failed\n{listed}") from failed[0]


def selected(checks: Iterable[Check], skip: Collection[str]) -> Iterable[Check]:
    """The checks whose names contain none of ``skip``."""
    return (check for check in checks if not any(part in check.name for part in skip))


def expect(condition: bool, what: str, came: object) -> None:
    """Raise AssertionError unless ``condition`` holds."""
    if not condition:
        raise AssertionError(f"expected {what}. Came: {came}")


def expect_close(found: Any, wanted: Any, tolerance: float, what: str) -> None:
    """Equal shapes, NaN and infinity in the same places, the rest within ``tolerance`` of the largest wanted value."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    expect(found.shape == wanted.shape, f"{what} of shape {wanted.shape}", f"shape {found.shape}")
    if wanted.dtype.kind != "f":
        expect(np.array_equal(found, wanted), f"{what} = {_shown(wanted)}", _shown(found))
        return
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    fine = np.isfinite(wanted)
    expect(
        np.array_equal(np.isfinite(found), fine) and np.array_equal(found[~fine], wanted[~fine], equal_nan=True),
        f"{what} = {_shown(wanted)}",
        _shown(found),
    )
    if fine.any():
        gap, scale = np.abs(found[fine] - wanted[fine]).max(), np.abs(wanted[fine]).max()
        expect(
            gap <= tolerance * max(scale, np.finfo(np.float32).tiny),
            f"{what} = {_shown(wanted)} to {tolerance:g}",
            f"{_shown(found)}, off by {gap:.3g}",
        )


def expect_raises(error: type[Exception], words: str, call: Callable[[], object]) -> None:
    """The call raises ``error``, whose message contains ``words``."""
    try:
        came: object = call()
    except error as raised:
        expect(words in str(raised), f"{error.__name__} saying {words!r}", str(raised))
        return
    except Exception as raised:
        came = f"{type(raised).__name__}: {raised}"
    raise AssertionError(f"expected {error.__name__}. Came: {came}")


def _shown(a: np.ndarray) -> str:
    return np.array2string(a, precision=9, threshold=24, edgeitems=3).replace("\n", "")
