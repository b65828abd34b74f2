"""``whence demo``: the same network in three frameworks, explained with every method, compared, and shown on a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from whence.core.errors import ParameterError
from whence.core.registry import method_names
from whence.core.validation import one_of, positive_int
from whence.report import agreement, page, text
from whence.report.cases import cases
from whence.report.frameworks import Framework, known
from whence.report.results import DTYPES, Say, gather


def run(
    *, out: Path, count: int = 20, frameworks: Sequence[str] = (), methods: Sequence[str] = (),
    dtypes: Sequence[str] = DTYPES, say: Say = print,
) -> bool:  # fmt: skip
    """Write the page to ``out`` and tell of it; whether every promise of agreement is kept."""
    began = perf_counter()
    positive_int("number of digits", count)
    for name in methods:
        one_of("method", name, method_names())
    results = gather(_chosen(frameworks), cases(tuple(methods)), count=count, dtypes=dtypes, say=say)
    comparisons = agreement.compare(results)
    wrong = agreement.verdict(results, comparisons)
    if comparisons:
        say(f"The largest difference of a logit is {agreement.logit_difference(results, 'float32'):.1e} in float32; "
            f"the classes are {'the same' if agreement.same_classes(results) else 'not the same'}.")  # fmt: skip
    for line in text.agreement(results, comparisons):
        say(line)
    say("")
    for label, reason in results.unsuited.items():
        say(f"Not shown: {label}: {reason}")
    for c in comparisons:
        if c.excuse:
            say(f"* {c.case.label}, {c.pair[0].title} and {c.pair[1].title}: {c.excuse}.")
    for sentence in wrong:
        say(f"! {sentence}")
    out.write_text(page.write(results, comparisons, wrong), encoding="utf-8")
    kept = "Every promise is kept." if not wrong else "Not every promise is kept."
    say(f"{kept if comparisons else 'One framework: nothing to compare.'} {perf_counter() - began:.0f} s in all.")
    say(f"The page: {out.resolve()}")
    return not wrong


def _chosen(names: Sequence[str]) -> tuple[Framework, ...]:
    """The frameworks of these names, all if none is named, in the order in which they have to be imported."""
    everything = known()
    for name in names:
        if name not in (own := [f.name for f in everything]):
            raise ParameterError("framework", received=repr(name), valid="one of " + ", ".join(own))
    return tuple(f for f in everything if not names or f.name in names)
