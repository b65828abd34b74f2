"""Same weights, same inputs: the same attributions on every framework, each in its own process."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

from tests.agreement import RUNTIMES, Row, compare, in_process
from tests.rounding import Rounding

SIZES = ("digits_cnn", "text", "vit", "resnet.image=64", "resnet.width=16")
FULL_FLOAT64 = ("flax", "keras-tensorflow")
"""Keras computes float64 in float32 on JAX and PyTorch (keras-team/keras issue 23704)."""


@cache
def found(runtime: str, dtype: str) -> dict[str, np.ndarray]:
    out = Path(mkdtemp()) / "found.npz"
    return in_process(runtime, dtype, out, batch=2, sizes=SIZES)


rounding = Rounding(
    lambda keys: in_process("torch", "float64", Path(mkdtemp()) / "out.npz", batch=2, sizes=SIZES, rounded=keys)
)


@pytest.mark.parametrize(
    ("runtime", "dtype"),
    [(r, "float32") for r in RUNTIMES if r != "torch"] + [(r, "float64") for r in FULL_FLOAT64],
)
def test_attributions_agree_with_torch(runtime: str, dtype: str) -> None:
    rows = compare(found("torch", dtype), found(runtime, dtype), dtype, rounding)
    assert len(rows) >= 52 and not [row for row in rows if not row.kept], _worst(rows)


def test_where_rounding_moves_nothing_float32_keeps_its_promise() -> None:
    rows = compare(found("torch", "float32"), found("flax", "float32"), "float32", rounding)
    excused = {row.what.split("/")[0] for row in rows if row.reason.startswith("rounding")}
    assert excused <= {"resnet"}, "only the deep relu network may need the excuse"


@pytest.mark.parametrize("what", ["digits_cnn/deep_lift/input", "resnet/saliency/input", "vit/smooth_grad/input"])
def test_an_error_of_one_framework_is_no_rounding(what: str) -> None:
    torch = found("torch", "float32")
    wrong = {**torch, what: torch[what] * (1 + 1e-3)}
    (row,) = (row for row in compare(torch, wrong, "float32", rounding) if row.what == what)
    assert not row.kept and row.beyond == (0, 1) and row.reason in ("promised", "rounding, no threshold"), row


def _worst(rows: list[Row]) -> str:
    ranked = sorted(rows, key=lambda row: -row.difference / row.allowed)
    return "\n".join(f"{r.what}: {r.difference:.1e}, allowed {r.allowed:.1e} ({r.reason})" for r in ranked[:8])
