"""Every method on the zoo's networks, at full size, on five runtimes: how far apart are the attributions?"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.report import head, table, write
from tests.agreement import NETWORKS, PROMISED, compare, in_process

PAIRS = (
    ("torch", "flax"),
    ("torch", "keras-tensorflow"),
    ("flax", "keras-tensorflow"),
    ("keras-tensorflow", "keras-jax"),
    ("keras-tensorflow", "keras-torch"),
)
COLUMNS = ("network", "dtype", "runtimes", "worst difference", "at", "allowed", "why", "kept")
SETTINGS = (
    "Two inputs a network, every method at the input and, on the digits CNN, at a layer; the text classifier at its "
    "embedding; the ResNet-18-like net, of width 32 at 3x224x224, with 8 steps and 4 samples. Differences are "
    "max|a - b| / max|a|. Allowed is 1e-5 in float32 and 1e-10 in float64, or twenty times the models' own difference: "
    "TensorFlow's exact GELU holds sqrt(2) in float32, and Keras computes float64 in float32 on JAX and PyTorch. Where "
    "float32 misses PyTorch's float64 attributions by more, because a relu or max-pool falls to the other side for a "
    "value that is zero but for rounding, 1e-2 is allowed."
)


def measure() -> None:
    """Explain in one process per runtime, network and element type, and write the table."""
    lines = []
    for network in NETWORKS:
        found = {dtype: _found(network, dtype) for dtype in PROMISED}
        for dtype in PROMISED:
            exact = found["float64"]["torch"] if dtype == "float32" else None
            lines += [_line(network, dtype, pair, found[dtype], exact) for pair in PAIRS]
    write("agreement", head("Agreement between frameworks", "agreement", _PACKAGES, SETTINGS), table(COLUMNS, lines))


_PACKAGES = ("torch", "jax", "flax", "tensorflow", "keras")


def _found(network: str, dtype: str) -> dict[str, dict[str, np.ndarray]]:
    runtimes = dict.fromkeys(runtime for pair in PAIRS for runtime in pair)
    with TemporaryDirectory() as folder:
        out = Path(folder) / "found.npz"
        return {runtime: in_process(runtime, dtype, out, batch=2, sizes=[network]) for runtime in runtimes}


def _line(
    network: str, dtype: str, pair: tuple[str, str], found: dict[str, dict[str, np.ndarray]],
    exact: dict[str, np.ndarray] | None,
) -> list[str]:  # fmt: skip
    rows = compare(found[pair[0]], found[pair[1]], dtype, exact)
    worst = max(rows, key=lambda row: row.difference / row.allowed)
    at = worst.what.removeprefix(f"{network}/").replace("/", " at ")
    kept = "yes" if all(row.kept for row in rows) else "NO"
    shown = f"{worst.difference:.1e}", at, f"{worst.allowed:.1e}", worst.reason, kept
    return [network, dtype, " - ".join(pair), *shown]


if __name__ == "__main__":
    measure()
