"""``python -m tests.rule_nets.worker FRAMEWORK DTYPE OUT.npz``: every network explained by every rule method.

Each framework in its own process, as everywhere; ``in_process`` runs one and reads what it wrote.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from tests.agreement import difference

from . import weights

FRAMEWORKS = ("torch", "jax", "tensorflow")
DRAWS = 16
ILL_CONDITIONED = ("lstm/lrp", "attention/lrp alpha_beta")
"""Where weights and inputs that are off in the last place of float32 change the exact relevance by more than float32
promises: through gates near zero, whose relevance is shared by a sum that cancels, and where positive and negative
parts are subtracted layer after layer."""


def methods(baseline: Any, *, whole: bool) -> dict[str, Any]:
    """What is run, by label; all of it on whole models."""
    import whence

    found: dict[str, Any] = {
        "deep_lift": whence.DeepLIFT(baseline=baseline),
        "deep_lift, reveal_cancel": whence.DeepLIFT(baseline=baseline, rule="reveal_cancel"),
    }
    for composite in ("attn_lrp", "alpha_beta", "epsilon_plus_flat", "epsilon_gamma_box") if whole else ("gamma",):
        found[f"lrp {composite}"] = whence.LRP(composite=composite, low=-4, high=4)
    return found


def explain(framework: str, dtype: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Attributions by "network/method", relative gaps by "network/method/gap", outputs; and what rules met.

    From PyTorch in float64 also "network/method/rounded": by how much they change where weights and inputs are off
    in the last place of float32. No computation in float32 can be expected to be nearer.
    """
    nets = import_module(f"tests.rule_nets.{framework}_nets")
    found: dict[str, np.ndarray] = {}
    met: dict[str, Any] = {}
    networks = [(f"mlp, {name}", "mlp", lambda name=name: nets.mlp(name, dtype)) for name in nets.OPERATIONS]
    networks += [(name, name, lambda make=make: make(dtype)) for name, make in nets.MODELS.items()]
    for label, kind, make in networks:
        model, x = make(), nets.tensor(weights.INPUTS[kind], dtype)
        for name, method in methods(nets.tensor(weights.BASELINES[kind], dtype), whole=kind != "mlp").items():
            e = method.explain(model, x, 1).numpy()
            key = f"{label}/{name}"
            found[key], found[f"{label}/output"] = e.attributions, e.score
            if e.delta is not None:
                found[f"{key}/gap"] = np.abs(e.delta) / np.abs(e.score - e.baseline_score)
            met[key] = e.provenance.coverage
            if (framework, dtype) == ("torch", "float64") and key.startswith(ILL_CONDITIONED):
                off = (method.explain(*nets.rounded(make(), x, seed), 1).attributions.numpy() for seed in range(DRAWS))
                found[f"{key}/rounded"] = np.array([difference(e.attributions, a) for a in off])
    return found, met


def in_process(framework: str, dtype: str, out: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What ``explain`` finds in a process of its own."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_ENABLE_X64": "1"}
    command = [sys.executable, "-m", "tests.rule_nets.worker", framework, dtype, str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    with np.load(out) as file:
        arrays = dict(file)
    return arrays, json.loads(str(arrays.pop("met")))


if __name__ == "__main__":
    arrays, met = explain(sys.argv[1], sys.argv[2])
    np.savez(sys.argv[3], met=json.dumps(met), **arrays)
