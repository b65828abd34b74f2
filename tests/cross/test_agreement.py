"""Same weights, same inputs: the same attributions on every framework, each in its own process."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

from tests.agreement import RUNTIMES, Row, compare, in_process

SIZES = ("digits_cnn", "text", "vit", "resnet.image=64", "resnet.width=16")
FULL_FLOAT64 = ("flax", "keras-tensorflow")
"""Keras computes float64 in float32 on JAX and PyTorch (keras-team/keras issue 23704)."""


@cache
def found(runtime: str, dtype: str) -> dict[str, np.ndarray]:
    out = Path(mkdtemp()) / "found.npz"
    return in_process(runtime, dtype, out, batch=2, sizes=SIZES)


@pytest.mark.parametrize(
    ("runtime", "dtype"),
    [(r, "float32") for r in RUNTIMES if r != "torch"] + [(r, "float64") for r in FULL_FLOAT64],
)
def test_attributions_agree_with_torch(runtime: str, dtype: str) -> None:
    exact = found("torch", "float64") if dtype == "float32" else None
    rows = compare(found("torch", dtype), found(runtime, dtype), dtype, exact)
    assert len(rows) >= 52 and not [row for row in rows if not row.kept], _worst(rows)


def test_where_no_threshold_flips_float32_keeps_its_promise() -> None:
    rows = compare(found("torch", "float32"), found("flax", "float32"), "float32", found("torch", "float64"))
    excused = {row.what.split("/")[0] for row in rows if "flips" in row.reason}
    assert excused <= {"resnet"}, "only the deep relu network may need the excuse"


def _worst(rows: list[Row]) -> str:
    ranked = sorted(rows, key=lambda row: -row.difference / row.allowed)
    return "\n".join(f"{r.what}: {r.difference:.1e}, allowed {r.allowed:.1e} ({r.reason})" for r in ranked[:8])
