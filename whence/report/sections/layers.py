"""Inside the network: what the channels of its layers give, and class activation maps, framework by framework."""

from __future__ import annotations

from html import escape

from whence.report.agreement import Comparison
from whence.report.cases import Case
from whence.report.html import Section, cell, table
from whence.report.results import Results
from whence.report.sections.drawing import channels, digit, key, named, over


def section(results: Results, comparisons: list[Comparison]) -> Section | None:
    """One table per digit: a row per layer and per map, a column per framework."""
    cases = [case for case in results.explained if _view(results, case) in ("activations", "map")]
    if not cases:
        return None
    right = next((i for i in range(len(results.digits)) if i not in results.mistaken), 0)
    chosen = dict.fromkeys([right, *(int(i) for i in results.mistaken[:1])])
    return Section(
        "layers",
        "Inside the network",
        key() + "".join(_table(results, cases, i) for i in chosen),
        lead="What the channels of each convolution give for a digit, dark for much, and class activation maps of the "
        "last one over the digit: where on the layer the evidence for the class stands.",
    )


def _view(results: Results, case: Case) -> str:
    return results.found["float32", results.frameworks[0].name, case.label].explanation.view


def _table(results: Results, cases: list[Case], i: int) -> str:
    read, truth = results.predicted[i], results.digits.labels[i]
    told = f"read as {read}" if read == truth else f'<span class="wrong">{read}</span>, is {truth}'
    head = [cell(f"{digit(results, i)}{told}", tag="th")]
    head += [cell(escape(framework.title), tag="th", scope="col") for framework in results.frameworks]
    return table([head], [_row(results, case, i) for case in cases], "maps layers")


def _row(results: Results, case: Case, i: int) -> list[str]:
    row = [cell(named(case), tag="th", scope="row")]
    for framework in results.frameworks:
        values, image = results.found["float32", framework.name, case.label].values[i], results.digits.images[i, 0]
        alt = f"{case.label}, digit {i}, {framework.title}"
        row.append(cell(channels(values, alt) if case.name == "activations" else over(values[0], image, alt)))
    return row
