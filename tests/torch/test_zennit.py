"""LRP beside zennit, an implementation by hooks on modules: the same relevance where modules are all there is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import whence
from tests.torch.zennit_relevance import EPSILON, HIGH, LOW, images, networks
from whence.core.rule import is_first
from whence.methods.lrp_input_rules import Box, Flat, WSquare

CASES: dict[str, whence.LRP] = {
    "epsilon": whence.LRP(epsilon=0.1),
    "gamma": whence.LRP(composite="gamma"),
    "alpha_beta": whence.LRP(composite="alpha_beta", alpha=3),
    "z_plus": whence.LRP(composite="z_plus"),
    "box": whence.LRP(overrides=((is_first, Box(LOW, HIGH, EPSILON)),)),
    "w_square": whence.LRP(overrides=((is_first, WSquare()),)),
    "flat": whence.LRP(overrides=((is_first, Flat()),)),
    "epsilon_plus": whence.LRP(composite="epsilon_plus"),
    "epsilon_plus_flat": whence.LRP(composite="epsilon_plus_flat"),
    "epsilon_alpha2_beta1": whence.LRP(composite="epsilon_alpha2_beta1"),
    "epsilon_alpha2_beta1_flat": whence.LRP(composite="epsilon_alpha2_beta1_flat"),
    "epsilon_gamma_box": whence.LRP(composite="epsilon_gamma_box", low=LOW, high=HIGH),
}


@pytest.fixture(scope="module")
def relevance(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, np.ndarray[Any, Any]]:
    if find_spec("zennit") is None:
        pytest.skip("zennit is installed in the development environment")
    out: Path = tmp_path_factory.mktemp("zennit") / "found.npz"
    command = [sys.executable, "-m", "tests.torch.zennit_relevance", str(out)]
    done = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(out) as file:
        return dict(file)


@pytest.mark.parametrize("network", ["plain", "normed"])
def test_equal(network: str, relevance: Mapping[str, np.ndarray[Any, Any]]) -> None:
    apart = {}
    for name, case in CASES.items():
        method = case if name == "epsilon" else replace(case, epsilon=EPSILON)
        theirs = relevance[f"{network}/{name}"]
        assert np.abs(theirs).max() > 0, name
        ours = method.explain(networks()[network], images(), 1).attributions.numpy()
        apart[name] = np.abs(ours - theirs).max() / np.abs(theirs).max()
    assert not {name: gap for name, gap in apart.items() if gap > 1e-5}
