"""Exact values and interactions against SHAP's ExactExplainer, which runs in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import whence
from whence.baselines import DataSet

SCRIPT = """
import sys
import numpy as np, shap
from sklearn.ensemble import GradientBoostingRegressor
file = np.load(sys.argv[1])
x, rows, kernel = file["x"], file["rows"], file["kernel"]
model = lambda t: np.tanh(t @ kernel).sum(1) + t[:, 0] * t[:, 1]
explainer = shap.ExactExplainer(model, shap.maskers.Independent(rows, max_samples=100))
np.savez(sys.argv[2], values=explainer(x, interactions=False).values, pairs=explainer(x, interactions=2).values)
"""


@pytest.mark.skipif(find_spec("shap") is None, reason="shap is not installed")
def test_exact_values_are_shaps(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    x, rows, kernel = rng.standard_normal((3, 8)), rng.standard_normal((5, 8)), rng.standard_normal((8, 4))
    np.savez(tmp_path / "in.npz", x=x, rows=rows, kernel=kernel)
    subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / "in.npz"), str(tmp_path / "out.npz")], check=True)
    theirs = np.load(tmp_path / "out.npz")
    ours = whence.ExactShapley(baseline=DataSet(rows), interactions="taylor").explain(
        lambda t: np.tanh(t @ kernel).sum(1) + t[:, 0] * t[:, 1], x
    )
    np.testing.assert_allclose(ours.attributions, theirs["values"], atol=1e-10)
    np.testing.assert_allclose(ours.features.interactions, theirs["pairs"], atol=1e-10)
