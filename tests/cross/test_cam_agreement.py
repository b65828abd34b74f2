"""Same weights, same images: the same maps and layer attributions on every framework, each in its own process."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

from tests.agreement import Row, compare, in_process
from tests.cam_agreement import EFFICIENTNET, NETWORKS
from tests.rounding import Rounding

PER_NETWORK = 17
"""At least so many attributions are compared of each network; the rows of activations are more."""
SUBJECTS = {
    "float64": ("vgg", "resnet_same", "nested", "vit"),
    "float32": ("vgg_gap", "vit"),
}


@cache
def found(runtime: str, dtype: str, *networks: str) -> dict[str, np.ndarray]:
    out = Path(mkdtemp()) / "found.npz"
    return in_process(runtime, dtype, out, batch=2, sizes=networks, module="tests.cam_agreement")


def rounding_of(runtime: str, *networks: str) -> Rounding:
    out, module = Path(mkdtemp()) / "out.npz", "tests.cam_agreement"
    return Rounding(
        lambda keys: in_process(runtime, "float64", out, batch=2, sizes=networks, module=module, rounded=keys)
    )


def agree(rows: list[Row], count: int) -> None:
    assert len(rows) >= count
    assert not [row for row in rows if not row.kept], worst(rows)


@pytest.mark.parametrize("dtype", SUBJECTS)
@pytest.mark.parametrize("runtime", ["flax", "keras-tensorflow"])
def test_maps_agree_with_torch(runtime: str, dtype: str) -> None:
    networks = SUBJECTS[dtype]
    torch, other = (found(name, dtype, *networks) for name in ("torch", runtime))
    rows = compare(torch, other, dtype, rounding_of("torch", *networks))
    agree(rows, PER_NETWORK * len(networks))


@pytest.mark.parametrize("runtime", ["keras-torch", "keras-jax"])
def test_efficientnet_agrees_on_the_backends_of_keras(runtime: str) -> None:
    there, here = (found(name, "float32", EFFICIENTNET) for name in ("keras-tensorflow", runtime))
    agree(compare(there, here, "float32", rounding_of("keras-tensorflow", EFFICIENTNET)), 7)


def test_every_network_is_compared() -> None:
    assert set(NETWORKS) == {network for networks in SUBJECTS.values() for network in networks}


def worst(rows: list[Row]) -> str:
    ranked = sorted(rows, key=lambda row: -row.difference / row.allowed)
    return "\n".join(f"{r.what}: {r.difference:.1e}, allowed {r.allowed:.1e} ({r.reason})" for r in ranked[:8])
