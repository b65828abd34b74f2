"""The table of agreement and completeness."""

from __future__ import annotations

from html import escape

from whence.report.agreement import PROMISED, Comparison, pairs
from whence.report.html import Section, cell, number, table
from whence.report.results import Results
from whence.report.sections.drawing import named

AGREEMENT = (
    "For each pair of frameworks the largest difference of any attribution of any digit, relative to the largest "
    "attribution: max|a − b| / max|a|. "
)
COMPLETENESS = (
    "The gap of completeness is how far the attributions' sum misses the change of the score, in percent of that "
    "change, at the worst digit; methods without one do not claim it."
)


def section(results: Results, comparisons: list[Comparison]) -> Section:
    """Differences by case, dtype and pair of frameworks, and the largest gap of completeness."""
    by_key = {(c.case.label, c.dtype, c.pair): c for c in comparisons}
    columns = [(dtype, pair) for dtype in results.dtypes for pair in pairs(results, dtype)]
    dtypes = [dtype for dtype, _ in columns]
    deep = 2 if columns else 1
    first = [cell("", tag="th", rowspan=deep)]
    for dtype in results.dtypes:
        if wide := len(pairs(results, dtype)):
            first.append(cell(f"{dtype}, promised {number(PROMISED[dtype], 1)}", "group", "th", colspan=wide))
    first.append(cell("largest gap of<br>completeness", "number", "th", rowspan=deep))
    starts = [dtype != before for dtype, before in zip(dtypes, [None, *dtypes], strict=False)]
    kinds = ["number first" if start else "number" for start in starts]
    second = [cell(f"{a.title},<br>{b.title}", kind, "th") for (_, (a, b)), kind in zip(columns, kinds, strict=True)]
    rows = []
    for case in results.cases:
        if not any(key[2] == case.label for key in results.found):
            continue
        row = [cell(named(case), tag="th")]
        found = [by_key.get((case.label, dtype, pair)) for dtype, pair in columns]
        row += [_difference(c, kind) for c, kind in zip(found, kinds, strict=True)]
        rows.append([*row, cell(percent(largest_gap(results, case.label)), "number")])
    head = [first, second] if columns else [first]
    return Section(
        "numbers",
        "Agreement in numbers" if columns else "Completeness",
        table(head, rows, "numbers") + _remarks(results, comparisons),
        lead=(AGREEMENT if columns else "") + COMPLETENESS,
    )


def largest_gap(results: Results, label: str) -> float | None:
    """Over frameworks, in float32."""
    gaps = [f.gap for (dtype, _, name), f in results.found.items() if dtype == "float32" and name == label]
    return max((g for g in gaps if g is not None), default=None)


def _difference(c: Comparison | None, kind: str) -> str:
    if c is None:
        return cell("–", kind)
    judged = "" if c.difference <= c.allowed else " excused" if c.excuse else " broken"
    return cell(number(c.difference), kind + judged)


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:#.2g} %".replace(". ", " ")


def _remarks(results: Results, comparisons: list[Comparison]) -> str:
    said = [
        f"{c.case.label}, {c.pair[0].title} and {c.pair[1].title}, {c.dtype}, digits {', '.join(map(str, c.over))}: "
        f"{c.excuse}." for c in comparisons if c.excuse
    ]  # fmt: skip
    said += [f"{label} is not shown: {reason}" for label, reason in results.unsuited.items()]
    said += [f"{f.title} is not installed and was left out." for f in results.absent]
    return "".join(f'<p class="note">{escape(text)}</p>' for text in said)
