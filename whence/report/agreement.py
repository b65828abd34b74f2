"""Do the frameworks agree? Every case, every pair of frameworks, float32 and float64, and what was promised.

The difference of two explanations is max|a - b| / max|a|. Where float32 exceeds the promise, the same comparison in
float64 tells rounding (at a kink, where it takes another branch, or magnified by a small denominator) from a mistake.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from whence.report.cases import Case
from whence.report.frameworks import Framework
from whence.report.results import Results

PROMISED = {"float32": 1e-5, "float64": 1e-10}
MOST_ROUNDED = 0.2
"""Share of the samples that rounding may excuse: a fault of one framework would show in all of them."""


@dataclass(frozen=True)
class Comparison:
    """One case on two frameworks. ``over`` are the samples beyond ``allowed``, ``excuse`` why they are."""

    case: Case
    dtype: str
    pair: tuple[Framework, Framework]
    difference: float
    allowed: float
    over: tuple[int, ...] = ()
    excuse: str = ""

    @property
    def kept(self) -> bool:
        """Whether the promise holds."""
        return self.difference <= self.allowed or bool(self.excuse)


def pairs(results: Results, dtype: str) -> list[tuple[Framework, Framework]]:
    """Frameworks to compare in this dtype, PyTorch with JAX first."""
    able = [f for f in results.frameworks if (dtype, f.name) in results.logits]
    order = sorted(able, key=lambda f: ("torch", "jax").index(f.name) if f.name in ("torch", "jax") else 2)
    return list(combinations(order, 2))


def relative(a: np.ndarray, b: np.ndarray) -> float:
    """max|a - b| / max|a|."""
    return float(np.abs(np.float64(a) - b).max() / (np.abs(a).max() or 1.0)) if a.shape == b.shape else float("inf")


def compare(results: Results) -> list[Comparison]:
    """All comparisons, float64 first, since it explains float32."""
    found: list[Comparison] = []
    for dtype in reversed(results.dtypes):
        for case in results.cases:
            for pair in pairs(results, dtype):
                keys = [(dtype, framework.name, case.label) for framework in pair]
                if all(key in results.found for key in keys):
                    found.append(_compared(results, case, dtype, pair, found))
    return found


def _compared(
    results: Results, case: Case, dtype: str, pair: tuple[Framework, Framework], before: list[Comparison]
) -> Comparison:
    a, b = (results.found[dtype, f.name, case.label].values for f in pair)
    own = relative(*(results.logits[dtype, f.name] for f in pair))
    allowed = max(PROMISED[dtype], 20 * own)
    difference = relative(a, b)
    if difference <= allowed or a.shape != b.shape:
        return Comparison(case, dtype, pair, difference, allowed)
    by_sample = np.abs(np.float64(a) - b).reshape(len(a), -1).max(axis=1) / np.abs(a).max()
    over = tuple(int(i) for i in np.flatnonzero(by_sample > allowed))
    exact = [c for c in before if (c.case, c.pair, c.dtype) == (case, pair, "float64") and c.kept]
    excuse = ""
    if dtype == "float32" and exact and len(over) <= max(MOST_ROUNDED * len(a), 1):
        excuse = (
            f"rounding of float32 at a kink or over a small denominator{_steps(results, case, pair, over)}; "
            f"in float64 the same explanations differ by {exact[0].difference:.0e}"
        )
    return Comparison(case, dtype, pair, difference, allowed, over, excuse)


def _steps(results: Results, case: Case, pair: tuple[Framework, Framework], over: tuple[int, ...]) -> str:
    """Where an adaptive rule stopped at different numbers of steps."""
    a, b = (results.found["float32", f.name, case.label].explanation.provenance.notes.get("n_steps") for f in pair)
    if a is None or b is None or all(a[i] == b[i] for i in over):
        return ""
    return " (" + "; ".join(f"digit {i}: {a[i]} and {b[i]} steps" for i in over) + ")"


def logit_difference(results: Results, dtype: str) -> float:
    """The largest absolute difference of a logit between any two frameworks."""
    return max(
        (float(np.abs(np.float64(results.logits[dtype, a.name]) - results.logits[dtype, b.name]).max())
         for a, b in pairs(results, dtype)), default=0.0,
    )  # fmt: skip


def same_classes(results: Results) -> bool:
    """Whether every framework predicts the same class for every digit of the page."""
    return all((logits.argmax(axis=1) == results.predicted).all() for logits in results.logits.values())


def verdict(results: Results, comparisons: list[Comparison]) -> list[str]:
    """What is wrong, one sentence each; empty if every promise is kept."""
    wrong = [] if same_classes(results) else ["The frameworks predict different classes."]
    unsuited = {label for label in results.unsuited
                if not any(key[2] == label for key in results.found)}  # fmt: skip
    wrong += [f"{label} on {name} in {dtype}: {text.splitlines()[0]}"
              for (dtype, name, label), text in results.failed.items() if label not in unsuited]  # fmt: skip
    for c in comparisons:
        if not c.kept:
            digits = f", at digits {', '.join(map(str, c.over))}" if c.over else ""
            wrong.append(f"{c.case.label}, {c.pair[0].title} and {c.pair[1].title} in {c.dtype}: they differ by "
                         f"{c.difference:.1e}, promised {c.allowed:.0e}{digits}.")  # fmt: skip
    return wrong
