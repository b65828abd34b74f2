"""The demonstration's page: a verdict and a few figures, then the sections."""

from __future__ import annotations

from html import escape

from whence.report.agreement import PROMISED, Comparison, logit_difference, pairs
from whence.report.html import document, number
from whence.report.results import Results
from whence.report.sections import SECTIONS, frameworks

NUMBERS = {1: "one framework", 2: "two frameworks", 3: "three frameworks"}


def write(results: Results, comparisons: list[Comparison], wrong: list[str]) -> str:
    """The page as HTML; ``wrong`` is the verdict, empty where every promise is kept."""
    sections = [made for make in SECTIONS if (made := make(results, comparisons)) is not None]
    return document("whence demo", _head(results, comparisons, wrong), sections, style=frameworks.rules(results))


def _head(results: Results, comparisons: list[Comparison], wrong: list[str]) -> str:
    many = NUMBERS[len(results.frameworks)]
    names = [f.title for f in results.frameworks]
    where = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    title = f"One network, {many}, the same explanations" if len(names) > 1 else "Where a prediction came from"
    lead = (
        f"A small network reads handwritten digits. Trained once, its weights run in {where}. Each of "
        f"{len({c.name for c in results.cases})} attribution methods, written once, explains the same "
        f"{len(results.digits)} predictions"
        + (" on all of them, and the numbers are compared." if len(names) > 1 else ".")
    )
    figures = "".join(
        f"<div><dt>{escape(label)}</dt><dd>{escape(value)}<small>{escape(note)}</small></dd></div>"
        for label, value, note in _figures(results, comparisons)
    )
    return (
        f'<p class="eyebrow">whence demo</p>\n<h1>{escape(title)}</h1>\n<p class="lead">{escape(lead)}</p>\n'
        f'{_verdict(results, comparisons, wrong)}\n<dl class="figures">{figures}</dl>'
    )


def _figures(results: Results, comparisons: list[Comparison]) -> list[tuple[str, str, str]]:
    found = []
    for dtype in results.dtypes:
        if own := [c for c in comparisons if c.dtype == dtype]:
            worst = max(own, key=lambda c: c.difference)
            found.append((f"largest difference of a map, {dtype}", number(worst.difference),
                          f"promised {number(PROMISED[dtype], 1)}"))  # fmt: skip
    if pairs(results, "float32"):
        found.append(("largest difference of a logit", number(logit_difference(results, "float32")),
                      "float32; the classes are the same"))  # fmt: skip
    found.append(("digits read rightly", f"{100 * results.accuracy:.1f} %", f"of {results.tested} not trained on"))
    return found


def _verdict(results: Results, comparisons: list[Comparison], wrong: list[str]) -> str:
    if wrong:
        listed = "".join(f"<li>{escape(text)}</li>" for text in wrong)
        return f'<div class="verdict bad">Not as promised.<ul>{listed}</ul></div>'
    if not comparisons:
        return ""
    excused = sum(1 for c in comparisons if c.excuse)
    told = f"All {len(comparisons)} comparisons are as promised"
    told += f"; {excused} of them but for magnified rounding of float32, named below." if excused else "."
    return f'<p class="verdict good">{told}</p>'
