"""The page of operations by framework: ``python -m tests.rule_nets.table`` writes it, a test holds it to the facts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from .worker import FRAMEWORKS, in_process

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "operations.md"
HEAD = """# Operations with rules

What [DeepLIFT](../methods/deep_lift.md) does with each operation, on each framework: the framework's names of the
operations that go by a rule, *path* for the derivative averaged along the straight line, *linear* where nothing
needs one. One small network per line, in float64; on every line the attributions add up to 1e-8 and agree between the
frameworks.

The table is written by the test suite (`python -m tests.rule_nets.table`).

"""


def page(met: Mapping[str, Mapping[str, Any]]) -> str:
    """The page for what rules met by framework and "network/method"."""
    rows = [f"| operation | {' | '.join(FRAMEWORKS)} |", "|---" * (1 + len(FRAMEWORKS)) + "|"]
    for key in met[FRAMEWORKS[0]]:
        network, method = key.split("/")
        if method == "deep_lift":
            name = network.removeprefix("mlp, ").replace("mobile", "depthwise, squeeze-and-excite")
            rows.append(f"| {name} | {' | '.join(_cell(met[framework][key]) for framework in FRAMEWORKS)} |")
    return HEAD + "\n".join(rows) + "\n"


def _cell(counts: Mapping[str, Mapping[str, int]]) -> str:
    ruled = [f"`{name.rpartition('.')[2]}`" for name in sorted(counts["ruled"])]
    path = [f"*path* (`{name.rpartition('.')[2]}`)" for name in sorted(counts["fallback"])]
    return ", ".join([*ruled, *path]) or "*linear*"


if __name__ == "__main__":
    out = Path(mkdtemp()) / "found.npz"
    PAGE.write_text(page({framework: in_process(framework, "float64", out)[1] for framework in FRAMEWORKS}))
