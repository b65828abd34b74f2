"""The same map in every framework, side by side, and their difference a million times enlarged."""

from __future__ import annotations

from html import escape
from itertools import combinations

import numpy as np

from whence.report.agreement import Comparison
from whence.report.html import Section, captioned, number
from whence.report.results import Results
from whence.report.sections.drawing import STYLE, digit, heat, key, named, summed_map

ENLARGED = 1e6


def section(results: Results, comparisons: list[Comparison]) -> Section | None:
    """A digit is chosen by its picture; without a browser that knows ``:has``, all of them are shown."""
    if len(results.frameworks) < 2:
        return None
    count = len(results.digits)
    chosen = int(results.mistaken[0]) if len(results.mistaken) else 0
    picker = "".join(
        f'<input type="radio" name="digit" id="d{i}"{" checked" if i == chosen else ""}>'
        f'<label for="d{i}">{digit(results, i)}</label>'
        for i in range(count)
    )
    panels = "\n".join(_panel(results, i) for i in range(count))
    names = [f.title for f in results.frameworks]
    together = f"{', '.join(names[:-1])} and {names[-1]}"
    return Section(
        "frameworks",
        "The same map, framework by framework",
        f'{key()}<fieldset class="picker" aria-label="Digit">{picker}</fieldset>\n{panels}',
        lead=f"The maps that {together} give for one digit, on one scale, and the largest difference between two of "
        "them at each pixel, enlarged a million times on that same scale: what is left is rounding. Choose a digit.",
    )


def rules(results: Results) -> str:
    """The style that shows the panel of the chosen digit only."""
    if len(results.frameworks) < 2:
        return ""
    hidden = "".join(f"main:has(#d{i}:checked) #p{i} {{ display: block; }}\n" for i in range(len(results.digits)))
    return f"@supports selector(:has(a)) {{\n.panel {{ display: none; }}\n{hidden}}}\n"


def _panel(results: Results, i: int) -> str:
    read, truth = results.predicted[i], results.digits.labels[i]
    told = f"A {truth}, read as {read}." if read != truth else f"A {truth}, read as such."
    scores = [f"{f.title} {results.logits['float32', f.name][i, read]:.6f}" for f in results.frameworks]
    cards = "".join(_card(results, i, case.label, named(case)) for case in results.shown)
    return (
        f'<div class="panel" id="p{i}"><p>{told} <span class="note">Its score: {", ".join(scores)}.</span></p>'
        f'<div class="cards large">{cards}</div></div>'
    )


def _card(results: Results, i: int, label: str, name: str) -> str:
    values = [results.found["float32", f.name, label].values[i] for f in results.frameworks]
    limit = STYLE.limit(summed_map(values[0]))
    images = [
        captioned(heat(v, f"{label} in {f.title}", limit), escape(f.title))
        for v, f in zip(values, results.frameworks, strict=True)
    ]
    gaps = np.stack([np.float64(a) - b for a, b in combinations(values, 2)])
    summed = np.stack([summed_map(gap) for gap in gaps])
    largest = np.take_along_axis(summed, np.abs(summed).argmax(axis=0)[None], axis=0)[0]
    relative = float(np.abs(gaps).max() / (np.abs(values[0]).max() or 1.0))
    difference = heat(largest[None] * ENLARGED, f"{label}: difference, enlarged", limit)
    enlarged = captioned(difference, f"difference&nbsp;×&nbsp;10⁶<br>{number(relative)}")
    return f'<div class="card"><h3>{name}</h3><div class="row">{"".join(images)}{enlarged}</div></div>'
