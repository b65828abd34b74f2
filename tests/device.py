"""What must hold on an accelerator: tensors stay there, and the numbers are those of the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import whence
from tests.agreement import difference

PRECISE, REDUCED = 1e-5, 1e-2
"""Relative differences allowed to the CPU: with float32 products, and with TF32 or other reduced ones."""


def check_stays(method: str, model: Any, on_cpu: Any, on_device: Any, is_there: Callable[[Any], bool]) -> None:
    """Explain the same model with inputs on both; everything that comes back lies where its input lay."""
    wanted = whence.explain(model(on_cpu), on_cpu, method, 2).numpy()
    found = whence.explain(model(on_device), on_device, method, 2)
    for value in (found.attributions, found.score, found.delta, found.std_error):
        assert value is None or is_there(value), f"{method}: left the device"
    tolerance = PRECISE if found.provenance.precision == "float32" else REDUCED
    assert difference(wanted.attributions, np.asarray(found.numpy().attributions)) < tolerance
