"""One runtime's table; runs in a process of its own."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np

import whence
from benchmarks import report
from benchmarks.zoo.nets import Architecture, Missing, Net
from whence.core.explanation import Explanation
from whence.errors import WhenceError

COLUMNS = (
    "network", "library", "input", "parameters", "through", "guided backprop", "DeepLIFT: ruled of all", "gap", "terms",
    "LRP: ruled of all", "sum / score", "without a rule",
)  # fmt: skip
THROUGH, GAP = COLUMNS.index("through"), COLUMNS.index("gap")
METHODS = {
    "guided backprop": COLUMNS.index("guided backprop"),
    "DeepLIFT": COLUMNS.index("DeepLIFT: ruled of all"),
    "LRP": COLUMNS.index("LRP: ruled of all"),
}
"""The columns that say whether a method runs."""
UNCOVERED = "without a rule of their own: "
EXACT = 1e-8
"""The gap that DeepLIFT promises in float64, where every operation has a rule."""
SETTINGS = (
    "Architectures of other libraries with random weights in float64, 2 samples; *through* says where a model's own "
    "code goes through float32. Texts are attributed at their embedding. As libraries initialise them many networks "
    "give next to nothing, or nothing but zeros at a baseline of zeros: biases and scales of normalisations are drawn "
    "at random, statistics of batch normalisation are those of one batch. Scores are those before a softmax.\n\n"
    "*Ruled of all*: operations on the way from input to output that go by a rule; the others are linear, and for LRP "
    "also relu and maxima, whose derivative is the rule. *Gap*: |sum of attributions - change of the score from the "
    "baseline| over |change|, the worse sample; the baseline is zeros, of texts padding. *Terms*: sum of "
    "|attributions| over |change|: by so much more than the precision may the gap be rounding. *Sum / score*: what LRP "
    "(epsilon-plus) hands down to the inputs; biases absorb the rest. *Without a rule*: operations that go along the "
    "path (DeepLIFT) or by their derivative although they are not linear (LRP). Networks without a relu have no guided "
    "backprop, which raises."
)


def measure(runtime: str) -> None:
    """Run the rules on every architecture and write the table."""
    library, _, keras_runtime = runtime.partition("_")
    if keras_runtime:
        # read when Keras is imported
        os.environ["KERAS_BACKEND"] = keras_runtime
    side = import_module(f"benchmarks.zoo.on_{library}")
    lines, missing = [], []
    for found in side.architectures():
        if isinstance(found, Missing):
            missing.append(f"Left out: {found.library}, which is not installed (`{found.install}`).")
        else:
            lines.append(_line(found))
            print(*lines[-1], sep=" | ", flush=True)
    if not lines:
        print(*missing, sep="\n")
        return
    title = f"Rules on architectures of other libraries, {side.TITLE}"
    head = report.head(title, f"zoo {runtime}", side.PACKAGES, SETTINGS)
    report.write(f"zoo_{runtime}", head, *missing, _summary(lines), report.table(COLUMNS, lines))


def _line(architecture: Architecture) -> list[str]:
    try:
        net = architecture.build()
    except Exception as error:
        # a release of the library that has it no more, or with other arguments
        return [architecture.name, architecture.library, f"not built: {_first(error)}", *[""] * (len(COLUMNS) - 3)]
    shapes = {name: v.shape for name, v in net.x.items()} if isinstance(net.x, dict) else {"": net.x.shape}
    shape = ", ".join(f"{name} {'x'.join(map(str, s[1:]))}".strip() for name, s in shapes.items())
    through = "float32" if net.narrow else "float64"
    about = [architecture.name, architecture.library, shape, f"{net.parameters / 1e6:.2g} M", through]
    guided, (deep_lift, path), (lrp, plain) = _guided(net), _deep_lift(net), _lrp(net)
    return [*about, guided, *deep_lift, *lrp, ", ".join(dict.fromkeys((*path, *plain))) or "none"]


def _guided(net: Net) -> str:
    found = _run(whence.GuidedBackprop(**net.options), net)
    return found if isinstance(found, str) else f"{sum(found.provenance.coverage['ruled'].values())} relus"


def _deep_lift(net: Net) -> tuple[list[str], list[str]]:
    found = _run(whence.DeepLIFT(baseline=net.baseline, **net.options), net)
    if isinstance(found, str):
        return [found, "", ""], []
    change = np.abs(found.score - found.baseline_score)
    gap, terms = np.max(np.abs(found.delta) / change), np.max(_sums(found, np.abs) / change)
    return [_ruled(found), f"{gap:.0e}", f"{terms:.0e}"], list(found.provenance.coverage["fallback"])


def _lrp(net: Net) -> tuple[list[str], list[str]]:
    method = whence.LRP(composite="epsilon_plus", strict=True, **net.options)
    found, plain = _run(method, net), []
    if isinstance(found, str) and UNCOVERED in found:
        # a strict one names what it has no rule for
        plain = [found.partition(UNCOVERED)[2].partition(". Valid")[0]]
        found = _run(replace(method, strict=False), net)
    if isinstance(found, str):
        return [found, ""], []
    ratios = _sums(found, np.asarray) / found.score
    return [_ruled(found), " ".join(f"{ratio:.3g}" for ratio in ratios)], plain


def _run(method: whence.Method, net: Net) -> Explanation | str:
    """The explanation as NumPy arrays, or the error, by name; one that is not the library's own stands out."""
    try:
        return method.explain(net.model, net.x).numpy()
    except WhenceError as error:
        return f"{type(error).__name__}: {_first(error)}"
    except Exception as error:
        return f"**{type(error).__name__}**: {_first(error)}"


def _first(error: Exception) -> str:
    """Of what an error says the first line; the operations of a whole network are left out."""
    text = str(error).partition("\n")[0].replace("|", "/")
    return text if UNCOVERED in text else text.partition(" (")[0]


def _sums(found: Explanation, of: Any) -> np.ndarray:
    leaves = found.attributions.values() if isinstance(found.attributions, dict) else [found.attributions]
    return np.sum([of(a).reshape(len(a), -1).sum(1) for a in leaves if a is not None], axis=0, dtype=np.float64)


def _ruled(found: Explanation) -> str:
    ruled, *others = (sum(found.provenance.coverage[part].values()) for part in ("ruled", "fallback", "plain"))
    return f"{ruled} of {ruled + sum(others)}"


def _summary(lines: list[list[str]]) -> str:
    counts = "; ".join(f"{name} runs on {_runs(lines, at)}" for name, at in METHODS.items())
    gaps = [float(line[GAP]) for line in lines if line[GAP] and line[THROUGH] == "float64"]
    others = sum("**" in cell for line in lines for cell in line)
    exact = f"below {EXACT:.0e} on {sum(gap <= EXACT for gap in gaps)} of {len(gaps)}"
    in_float64 = f" Where all is float64, DeepLIFT's gap is at most {max(gaps):.0e}, {exact}." if gaps else ""
    return f"Of {len(lines)} networks: {counts}.{in_float64} Errors that are not whence's own: {others}."


def _runs(lines: list[list[str]], at: int) -> int:
    return sum(bool(line[at]) and ":" not in line[at] for line in lines)
