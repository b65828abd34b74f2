"""Digits that the network mistakes: what spoke for the class it chose, and what for the true one."""

from __future__ import annotations

from whence.report.agreement import Comparison
from whence.report.html import Section, captioned
from whence.report.results import Results
from whence.report.sections.drawing import STYLE, digit, heat, key, summed_map


def section(results: Results, comparisons: list[Comparison]) -> Section | None:
    """None where the page has no mistake."""
    if not results.contrast:
        return None
    cards = []
    logits = results.logits["float32", results.frameworks[0].name]
    for j, i in enumerate(results.mistaken):
        read, truth = results.predicted[i], results.digits.labels[i]
        pair = results.contrast["predicted"][j], results.contrast["true"][j]
        limit = max(STYLE.limit(summed_map(v)) for v in pair)
        images = [captioned(digit(results, i), "the digit")]
        images += [
            captioned(heat(v, f"evidence for {c}", limit), f"why {c}: score&nbsp;{logits[i, c]:.1f}")
            for v, c in zip(pair, (read, truth), strict=True)
        ]
        rather = heat(pair[0] - pair[1], f"evidence for {read} rather than {truth}", limit)
        images.append(captioned(rather, f"why {read}, not {truth}: their difference"))
        heading = f"A {truth}, read as {read}"
        cards.append(f'<div class="card"><h3>{heading}</h3><div class="row">{"".join(images)}</div></div>')
    return Section(
        "mistakes",
        "Where the network errs",
        f'{key()}<div class="cards large">{"".join(cards)}</div>',
        lead="Integrated gradients for the class that was read and for the true one, on one scale per digit. The sum "
        "of a map is how far the digit moves that class's score from the score of blank paper.",
    )
