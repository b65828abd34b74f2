"""Tables on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from whence.report.agreement import PROMISED, Comparison, pairs
from whence.report.html import number
from whence.report.results import Results
from whence.report.sections.numbers import largest_gap, percent


def aligned(rows: Sequence[Sequence[str]], *, left: int = 1) -> list[str]:
    """Lines of columns two spaces apart, the first ``left`` columns to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    places = [str.ljust if i < left else str.rjust for i in range(len(widths))]
    return ["  ".join(place(text, w) for place, text, w in zip(places, row, widths, strict=True)).rstrip()
            for row in rows]  # fmt: skip


def agreement(results: Results, comparisons: list[Comparison]) -> list[str]:
    """The tables of differences between frameworks and of completeness; ``*`` marks what is excused, ``!`` a breach."""
    by_key = {(c.case.label, c.dtype, c.pair): c for c in comparisons}
    lines = []
    for dtype in results.dtypes:
        columns = pairs(results, dtype)
        heading = ["", *(f"{a.name}-{b.name}" for a, b in columns)]
        rows = [[*heading, "completeness gap"] if dtype == "float32" else heading]
        for case in results.cases:
            if not any((dtype, f.name, case.label) in results.found for f in results.frameworks):
                continue
            row = [case.label, *(_marked(by_key.get((case.label, dtype, pair))) for pair in columns)]
            if dtype == "float32":
                gap = largest_gap(results, case.label)
                row.append(percent(gap))
            rows.append(row)
        title = f"max|a-b| / max|a| in {dtype}, promised {number(PROMISED[dtype], 1)}" if columns else "Completeness"
        lines += ["", title, *aligned(rows)]
    return lines


def _marked(c: Comparison | None) -> str:
    if c is None:
        return "–"
    return number(c.difference) + ("" if c.difference <= c.allowed else "*" if c.excuse else "!")
