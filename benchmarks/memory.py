"""Peak memory of integrated gradients by the number of steps, each measurement in a fresh process."""

from __future__ import annotations

import ctypes
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import report

BATCH, OPTIONS = 4, {"image": 112}
ONE_BY_ONE = {"MALLOC_MMAP_THRESHOLD_": "262144"}
"""Large blocks are mapped one by one, so that what is measured is the memory in use and not the heap's holes."""
CASES = [("whence", 50), ("whence", 200), ("whence", 1000), ("Captum", 50), ("Captum", 200)]


def measure() -> None:
    """Measure all cases and write the table."""
    peaks = {case: _measured(*case) for case in CASES}
    ours = [peak for (library, _), peak in peaks.items() if library == "whence"]
    rows = [
        [library, steps, f"{peak / min(ours):.2f}", f"{peak / 2**20:.0f}"] for (library, steps), peak in peaks.items()
    ]
    report.write(
        "memory",
        report.head(
            "Peak memory of integrated gradients",
            "memory",
            ("torch", "captum"),
            f"ResNet 112 px, batch {BATCH}, midpoint rule, defaults otherwise (Captum: all rows in one graph). Growth "
            "of the peak resident memory (VmHWM, reset before) in one call, after a call of two steps; a fresh process "
            "each, one thread, large blocks mapped one by one so that holes in the heap do not count.",
        ),
        report.table(["library", "steps", "relative to whence's least", "MiB"], rows),
        f"whence from 50 to 1000 steps: within {100 * (max(ours) / min(ours) - 1):.1f} % (target: 5 %).",
    )


def _measured(library: str, steps: int) -> int:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.memory", library, str(steps)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **ONE_BY_ONE})
    return int(json.loads(done.stdout))


def growth(call: Callable[[], object]) -> int:
    """Bytes by which ``call`` raises the peak of resident memory above what is resident before it."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


def _status(key: str) -> int:
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def _call(library: str) -> Callable[[int], object]:
    import torch
    from captum.attr import IntegratedGradients

    import whence
    from tests.zoo.inputs import inputs
    from tests.zoo.torch_models import build

    torch.set_num_threads(1)
    model, x = build("resnet", **OPTIONS), torch.from_numpy(inputs("resnet", BATCH, **OPTIONS))
    target = list(range(BATCH))
    if library == "Captum":
        path = IntegratedGradients(model)
        return lambda steps: path.attribute(x, target=torch.tensor(target), n_steps=steps, method="riemann_middle")
    return lambda steps: whence.IntegratedGradients(n_steps=steps).explain(model, x, target)


if __name__ == "__main__":
    attribute, wanted = _call(sys.argv[1]), int(sys.argv[2])
    attribute(2)
    print(growth(lambda: attribute(wanted)))
