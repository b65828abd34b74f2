"""The methods that were shown, each with a sentence and its source."""

from __future__ import annotations

from html import escape

from whence.report.agreement import Comparison
from whence.report.descriptions import describe
from whence.report.html import Section, cell, link, table
from whence.report.results import Results


def section(results: Results, comparisons: list[Comparison]) -> Section:
    """From the methods' own docstrings."""
    rows = []
    for name in dict.fromkeys(case.name for case in results.cases):
        told = describe(name)
        source = escape(told.source)
        for text, address in told.links:
            source = source.replace(escape(text), link(text, address))
        sentence = escape(told.sentence).replace("[B, ...]", "[B,&nbsp;...]")
        rows.append([cell(f"<code>{escape(name)}</code>", tag="th"), cell(sentence), cell(source)])
    head = [cell(text, tag="th") for text in ("method", "what it gives", "source")]
    return Section(
        "methods",
        "Methods and sources",
        table([head], rows, "numbers"),
        lead="Each is written once, against a small interface of tensors and gradients that every framework offers.",
    )
