"""``import whence`` is fast and imports no framework."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

import pytest

HEAVY = ("torch", "jax", "flax", "tensorflow", "keras", "sklearn", "skimage", "matplotlib", "tqdm", "scipy")
PROBE = """
import json, sys, time
{before}
began = time.process_time()
{code}
spent = time.process_time() - began
print(json.dumps([spent, sorted(m for m in sys.modules if "." not in m)]))
"""


def run(code: str, before: str = "") -> tuple[float, set[str]]:
    found = subprocess.run([sys.executable, "-c", PROBE.format(code=code, before=before)],
                           capture_output=True, text=True, check=True)  # fmt: skip
    spent, modules = json.loads(found.stdout)
    return spent, set(modules)


def test_import_takes_less_than_a_third_of_a_second() -> None:
    """Processor time, so that other work on the machine does not count."""
    runs = [run("import whence") for _ in range(5)]
    assert statistics.median(spent for spent, _ in runs) < 0.3
    assert not runs[0][1] & set(HEAVY)


@pytest.mark.parametrize("code", [
    "import whence; [getattr(whence, name) for name in whence.__all__]",
    "import whence; whence.methods(); whence.IntegratedGradients(n_steps=3)",
    "import whence.testing",
    "import numpy as np, whence; whence.wrap(lambda x: x).run(np.ones((2, 3)))",
])  # fmt: skip
def test_no_framework_is_imported(code: str) -> None:
    assert not run(code)[1] & {*HEAVY} - {"tqdm"}


def test_a_black_box_is_explained_without_any_framework() -> None:
    code = "import numpy; from tests.core import methods; methods.Ablation().explain(numpy.tanh, numpy.ones((2, 3)), 0)"
    assert not run(code)[1] & set(HEAVY)


def test_every_public_name_is_there() -> None:
    import whence

    assert set(whence.__all__) <= set(dir(whence))
    for name in whence.__all__:
        assert getattr(whence, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        whence.nothing  # noqa: B018
