"""Every method on the zoo's networks, at full size, on five runtimes: how far apart are the attributions?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.report import head, table, write
from tests import agreement as gradients
from tests import cam_agreement as maps
from tests.agreement import Row
from tests.rounding import Moved, Rounding

ON_KERAS = (("keras-tensorflow", "keras-jax"), ("keras-tensorflow", "keras-torch"))
PAIRS = (("torch", "flax"), ("torch", "keras-tensorflow"), ("flax", "keras-tensorflow"), *ON_KERAS)
COLUMNS = (
    "network", "dtype", "runtimes", "nearest to its limit", "at", "allowed", "why", "kept", "both from float64",
    "beyond 1e-5",
)  # fmt: skip
BEYOND = (
    "network", "attribution", "differences beyond", "samples", "rounding alone", "thresholds passed",
    "with these held", "why", "kept",
)  # fmt: skip
DRAWS = 8
PACKAGES = ("torch", "jax", "flax", "tensorflow", "keras")
ALLOWED = (
    "Differences are max|a - b| / max|a|. Allowed is 1e-5 in float32 and 1e-10 in float64, or twenty times the models' "
    "own difference: TensorFlow's exact GELU holds sqrt(2) in float32. On JAX and PyTorch, Keras computes float64 in "
    "float32, so these two are compared in float32. Where that is not enough in float32, twice as much is allowed as "
    "rounding alone moves the exact attribution: see the second table. A line names the attribution that is nearest to "
    "what is allowed for it, and how far each of the two is there from the exact one: that of PyTorch in float64, for "
    "EfficientNetB0 that of Keras on TensorFlow. The last column counts attributions beyond 1e-5."
)
ROUNDING = (
    "## Where float32 does not keep 1e-5\n\n"
    "Every such attribution, over all pairs of runtimes above. *Rounding alone* is how far the exact attribution moves "
    "at most, in {draws} seeded draws: weights and inputs are off by up to a unit in the last place of float32, every "
    "relu and max-pool is on the side on which it falls where PyTorch runs that model in float32, and everything else "
    "is in float64. *Thresholds passed* counts relus and max-pools that then fall otherwise than in the exact run, at "
    "all points at which the method evaluates the network. *With these held* is the same movement, in the draw that "
    "moves most, when each falls as in the exact run. Twice the rounding is allowed, as each of two runtimes may be "
    "that far away; float64 has no such allowance."
)


def measure(what: str = "gradients") -> None:
    """Explain in one process per runtime, network and element type, and write the table."""
    name, title, settings, networks = SUBJECTS[what]
    found = [_compared(*of_network) for of_network in networks()]
    parts = [table(COLUMNS, (line for lines, _ in found for line in lines))]
    if beyond := [line for _, lines in found for line in lines]:
        parts += [ROUNDING.format(draws=DRAWS), table(BEYOND, beyond)]
    write(name, head(title, f"agreement {what}", PACKAGES, f"{settings} {ALLOWED}"), *parts)


Subject = tuple[str, str, Sequence[tuple[str, str]], str]
"""A network with its options, the module that explains it, pairs of runtimes, and the one that is exact in float64."""


def _gradients() -> Iterator[Subject]:
    for network in gradients.NETWORKS:
        yield network, "tests.agreement", PAIRS, "torch"


def _smooth() -> Iterator[Subject]:
    yield "resnet.smooth=1", "tests.agreement", PAIRS, "torch"


def _maps() -> Iterator[Subject]:
    for network in maps.NETWORKS:
        yield network, "tests.cam_agreement", PAIRS, "torch"
    yield f"{maps.EFFICIENTNET}.all=1", "tests.cam_agreement", ON_KERAS, "keras-tensorflow"


SUBJECTS: dict[str, tuple[str, str, str, Callable[[], Iterator[Subject]]]] = {
    "gradients": (
        "agreement",
        "Agreement between frameworks",
        "Two inputs a network, every method at the input and, on the digits CNN, at a layer; the text classifier at "
        "its embedding; the ResNet-18-like net, of width 32 at 3x224x224, with 8 steps and 4 samples.",
        _gradients,
    ),
    "smooth": (
        "agreement_smooth",
        "Agreement between frameworks without thresholds",
        "The ResNet-18-like net at 3x224x224 with softplus in the place of relu and a mean in that of the maximum, "
        "every gradient and path method, 8 steps and 4 samples: what is left of float32's differences where rounding "
        "passes no threshold.",
        _smooth,
    ),
    "maps": (
        "agreement_maps",
        "Agreement of maps and layer attributions between frameworks",
        "Two images a network, every map, at coarse and at resized sizes, activations, conductance and influence.",
        _maps,
    ),
}


def _compared(
    network: str, module: str, pairs: Sequence[tuple[str, str]], exact_on: str
) -> tuple[list[list[str]], list[list[str]]]:  # fmt: skip
    """The lines of both tables."""

    def run(runtime: str, dtype: str, rounded: Sequence[str] = ()) -> dict[str, np.ndarray]:
        with TemporaryDirectory() as folder:
            out = Path(folder) / "found.npz"
            options = {"batch": 2, "sizes": [network], "module": module, "rounded": rounded, "draws": DRAWS}
            return gradients.in_process(runtime, dtype, out, **options)

    by_dtype = {"float32": pairs, "float64": [pair for pair in pairs if pair not in ON_KERAS]}
    found = {
        dtype: {runtime: run(runtime, dtype) for runtime in dict.fromkeys(r for pair in compared for r in pair)}
        for dtype, compared in by_dtype.items()
    }
    exact = found["float64"].get(exact_on) or run(exact_on, "float64")
    rounding = Rounding(lambda keys: run(exact_on, "float64", keys))
    name = network.replace("=1", "").replace(".", ", ")
    lines, beyond = [], []
    for dtype, compared in by_dtype.items():
        for a, b in compared:
            rows = gradients.compare(found[dtype][a], found[dtype][b], dtype, rounding)
            worst = max(rows, key=lambda row: row.difference / row.allowed)
            away = [f"{gradients.difference(exact[worst.what], found[dtype][r][worst.what]):.1e}" for r in (a, b)]
            lines.append([
                name, dtype, f"{a} - {b}", f"{worst.difference:.1e}", _at(worst), f"{worst.allowed:.1e}", worst.reason,
                _yes(rows), ", ".join(away) if dtype == "float32" else "",
                f"{sum(bool(row.beyond) for row in rows)} of {len(rows)}" if dtype == "float32" else "",
            ])  # fmt: skip
            beyond += [row for row in rows if row.beyond and dtype == "float32"]
    return lines, list(_beyond(name, beyond, rounding))


def _beyond(network: str, rows: Sequence[Row], rounding: Rounding) -> Iterator[list[str]]:
    """One line for each attribution, of all pairs."""
    moved = rounding([row.what for row in rows])
    for what in dict.fromkeys(row.what for row in rows):
        of_pairs, by = [row for row in rows if row.what == what], moved[what]
        differences = (f"{choice(row.difference for row in of_pairs):.1e}" for choice in (min, max))
        yield [
            network, _at(of_pairs[0]), _span(*differences),
            ", ".join(map(str, sorted({sample for row in of_pairs for sample in row.beyond}))), f"{by.most:.1e}",
            _passed(by), f"{float(by.held):.1e}" if by.thresholds else "",
            max(of_pairs, key=lambda row: row.difference / row.allowed).reason, _yes(of_pairs),
        ]  # fmt: skip


def _passed(moved: Moved) -> str:
    if not moved.thresholds or moved.passed.max() < 0:
        return ""
    counted = sorted({int(count) for count in moved.passed if count >= 0})
    return f"{_span(*counted)} of {float(moved.thresholds):.1e}"


def _span(*of: object) -> str:
    return f"{of[0]}" if of[0] == of[-1] else f"{of[0]} to {of[-1]}"


def _at(row: Row) -> str:
    return row.what.partition("/")[2].replace("/", " at ")


def _yes(rows: Sequence[Row]) -> str:
    return "yes" if all(row.kept for row in rows) else "NO"
