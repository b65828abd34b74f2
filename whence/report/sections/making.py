"""How the page was made: versions, devices, seeds, time."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape

from whence.report.agreement import Comparison
from whence.report.html import Section, cell, table
from whence.report.results import Results


def section(results: Results, comparisons: list[Comparison]) -> Section:
    """From the provenance of the explanations."""
    rows = []
    for framework in results.frameworks:
        own = [f.explanation.provenance for (_, name, _), f in results.found.items() if name == framework.name]
        if not own:
            continue
        shown = ", ".join(f"{k} {v}" for k, v in own[0].versions.items() if k not in ("whence", "python", "numpy"))
        texts = (framework.title, own[0].model, shown, own[0].device, own[0].layout or "–")
        figures = (f"{sum(p.backward for p in own):,}", f"{results.seconds[framework.name]:.0f} s")
        rows.append([cell(escape(t)) for t in texts] + [cell(t, "number") for t in figures])
    columns = ("framework", "model", "versions", "device", "layout")
    head = [cell(text, tag="th") for text in columns]
    head += [cell(text, "number", "th") for text in ("gradients", "time")]
    found = next(iter(results.found.values()), None)
    common = found.explanation.provenance.versions if found else {}
    versions = ", ".join(f"{name} {common[name]}" for name in ("whence", "python", "numpy") if name in common)
    said = (
        f"Written on {datetime.now(UTC):%d %B %Y} by whence demo: {versions}. The network has two convolutions and "
        f"two dense layers; {results.trained_on.title} trained it in {results.seconds_training:.1f} s on the first "
        "half of scikit-learn's 1797 digits, in an order drawn with seed 0. Random draws of methods have seed 0 and "
        "are the same on every framework. Nothing on this page is loaded from elsewhere."
    )
    data = ('<p class="note">Digits: Alpaydin and Kaynak 1998, <a href="https://doi.org/10.24432/C50P49">Optical '
            "Recognition of Handwritten Digits</a>, UCI.</p>")  # fmt: skip
    return Section("making", "How this page was made", f"<p>{escape(said)}</p>{data}{table([head], rows, 'numbers')}")
