"""Every method on the zoo's networks, at full size, on five runtimes: how far apart are the attributions?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.report import head, table, write
from tests import agreement as gradients
from tests import cam_agreement as maps

ON_KERAS = (("keras-tensorflow", "keras-jax"), ("keras-tensorflow", "keras-torch"))
PAIRS = (("torch", "flax"), ("torch", "keras-tensorflow"), ("flax", "keras-tensorflow"), *ON_KERAS)
COLUMNS = ("network", "dtype", "runtimes", "worst difference", "at", "allowed", "why", "kept", "PyTorch's own rounding")
PACKAGES = ("torch", "jax", "flax", "tensorflow", "keras")
ALLOWED = (
    "Differences are max|a - b| / max|a|. Allowed is 1e-5 in float32 and 1e-10 in float64, or twenty times the models' "
    "own difference: TensorFlow's exact GELU holds sqrt(2) in float32. On JAX and PyTorch, Keras computes float64 in "
    "float32, so these two are compared in float32. Where float32 misses PyTorch's float64 attributions by more, "
    "because a relu or max-pool falls to the other side for a value that is zero but for rounding, 1e-2 is allowed. "
    "The last column is how far PyTorch's float32 is from its own float64 for the same attribution."
)


def measure(what: str = "gradients") -> None:
    """Explain in one process per runtime, network and element type, and write the table."""
    name, title, settings, lines = SUBJECTS[what]
    command = f"agreement {what}"
    write(name, head(title, command, PACKAGES, f"{settings} {ALLOWED}"), table(COLUMNS, lines()))


def _gradients() -> Iterator[list[str]]:
    for network in gradients.NETWORKS:
        yield from _lines(network, "tests.agreement", PAIRS, gradients.PROMISED)


def _smooth() -> Iterator[list[str]]:
    yield from _lines("resnet.smooth=1", "tests.agreement", PAIRS, gradients.PROMISED)


def _maps() -> Iterator[list[str]]:
    for network in maps.NETWORKS:
        yield from _lines(network, "tests.cam_agreement", PAIRS, gradients.PROMISED)
    yield from _lines(f"{maps.EFFICIENTNET}.all=1", "tests.cam_agreement", ON_KERAS, ("float32",))


SUBJECTS: dict[str, tuple[str, str, str, Callable[[], Iterator[list[str]]]]] = {
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


def _lines(
    network: str, module: str, pairs: Sequence[tuple[str, str]], dtypes: Iterable[str]
) -> Iterator[list[str]]:  # fmt: skip
    by_dtype = {dtype: [p for p in pairs if dtype == "float32" or p not in ON_KERAS] for dtype in dtypes}
    found = {dtype: _found(network, dtype, module, compared) for dtype, compared in by_dtype.items()}
    exact = found.get("float64", {}).get("torch")
    for dtype, compared in by_dtype.items():
        for a, b in compared:
            rows = gradients.compare(found[dtype][a], found[dtype][b], dtype, exact if dtype == "float32" else None)
            worst = max(rows, key=lambda row: row.difference / row.allowed)
            own = gradients.difference(exact[worst.what], found[dtype]["torch"][worst.what]) if exact else None
            yield [
                network.replace("=1", "").replace(".", ", "),
                dtype,
                f"{a} - {b}",
                f"{worst.difference:.1e}",
                worst.what.partition("/")[2].replace("/", " at "),
                f"{worst.allowed:.1e}",
                worst.reason,
                "yes" if all(row.kept for row in rows) else "NO",
                "" if own is None or dtype == "float64" else f"{own:.1e}",
            ]


def _found(
    network: str, dtype: str, module: str, pairs: Sequence[tuple[str, str]]
) -> dict[str, dict[str, np.ndarray]]:  # fmt: skip
    runtimes = dict.fromkeys(runtime for pair in pairs for runtime in pair)
    with TemporaryDirectory() as folder:
        out = Path(folder) / "found.npz"
        return {
            runtime: gradients.in_process(runtime, dtype, out, batch=2, sizes=[network], module=module)
            for runtime in runtimes
        }
