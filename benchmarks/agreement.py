"""Every method on the zoo's networks, at full size, on five runtimes: how far apart are the attributions?"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.report import head, table, write
from tests.agreement import NETWORKS, PROMISED, Row, compare, difference, in_process

PAIRS = (
    ("torch", "flax"),
    ("torch", "keras-tensorflow"),
    ("flax", "keras-tensorflow"),
    ("keras-tensorflow", "keras-jax"),
    ("keras-tensorflow", "keras-torch"),
)
COLUMNS = ("network", "dtype", "runtimes", "worst difference", "at", "models' own difference", "allowed", "kept")
SETTINGS = (
    "Two inputs a network (the ResNet-18-like net of width 32 at 3x224x224), every method at the input and, where the "
    "network has one, at a layer of the same name. Differences are max|a - b| / max|a|. Allowed is 1e-5 in float32 and "
    "1e-10 in float64, or twenty times the models' own difference: TensorFlow's exact GELU holds sqrt(2) in float32, "
    "and Keras computes float64 in float32 on JAX and PyTorch."
)


def measure() -> None:
    """Explain in one process per runtime, network and element type, and write the table."""
    lines = []
    for network in NETWORKS:
        for dtype in PROMISED:
            found = _found(network, dtype)
            lines += [_line(network, dtype, pair, found) for pair in PAIRS]
    write("agreement", head("Agreement between frameworks", "agreement", _PACKAGES, SETTINGS), table(COLUMNS, lines))


_PACKAGES = ("torch", "jax", "flax", "tensorflow", "keras")


def _found(network: str, dtype: str) -> dict[str, dict[str, np.ndarray]]:
    runtimes = dict.fromkeys(runtime for pair in PAIRS for runtime in pair)
    with TemporaryDirectory() as folder:
        out = Path(folder) / "found.npz"
        return {runtime: in_process(runtime, dtype, out, batch=2, sizes=[network]) for runtime in runtimes}


def _line(network: str, dtype: str, pair: tuple[str, str], found: dict[str, dict[str, np.ndarray]]) -> list[str]:
    a, b = (found[runtime] for runtime in pair)
    worst: Row = max(compare(a, b, dtype), key=lambda row: row.difference)
    own = difference(a[f"{network}/output"], b[f"{network}/output"])
    at = worst.what.removeprefix(f"{network}/").replace("/", " at ")
    return [network, dtype, " - ".join(pair), f"{worst.difference:.1e}", at, f"{own:.1e}", f"{worst.allowed:.1e}",
            "yes" if worst.kept else "NO"]  # fmt: skip


if __name__ == "__main__":
    measure()
