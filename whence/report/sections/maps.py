"""A page of digits, explained with every method: one column per digit, one row per case."""

from __future__ import annotations

from whence.report.agreement import Comparison
from whence.report.html import Section, cell, table
from whence.report.results import Results
from whence.report.sections.drawing import digit, heat, key, named


def section(results: Results, comparisons: list[Comparison]) -> Section:
    """The maps of the first framework; the others' are the same."""
    count = len(results.digits)
    first = results.mistaken[0] if len(results.mistaken) else count
    framework = results.frameworks[0]

    def apart(i: int) -> str:
        return "apart" if i == first else ""

    head = [cell("", tag="th")]
    for i in range(count):
        told = f"{results.predicted[i]}"
        if i in results.mistaken:
            told = f'<span class="wrong">{told}</span>, is {results.digits.labels[i]}'
        head.append(cell(f"{digit(results, i)}{told}", apart(i), tag="th", scope="col"))
    rows = []
    for case in results.shown:
        values = results.found["float32", framework.name, case.label].values
        row = [cell(named(case), tag="th", scope="row")]
        row += [cell(heat(values[i], f"{case.label}, digit {i}"), apart(i)) for i in range(count)]
        rows.append(row)
    mistakes = f" The last {len(results.mistaken)} are mistakes." if len(results.mistaken) else ""
    return Section(
        "maps",
        "What each method sees",
        key() + table([head], rows, "maps"),
        lead=f"Each column is a digit that the network has never seen, with the class it reads.{mistakes} Below it, "
        "which pixels speak for that class and which against it, by every method. Each map has its own scale.",
    )
