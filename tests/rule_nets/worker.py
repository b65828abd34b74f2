"""``python -m tests.rule_nets.worker FRAMEWORK DTYPE OUT.npz``: every network explained by every rule method.

Each framework in its own process, as everywhere; ``in_process`` runs one and reads what it wrote.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from tests.rounding import measure, rounded, to_arrays

from . import weights

FRAMEWORKS = ("torch", "jax", "tensorflow")


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


def networks(framework: str, dtype: str, draw: int | None = None) -> Iterator[tuple[str, Any, Any, dict[str, Any]]]:
    """(label, model, inputs, methods by label) of every network, off by a draw of rounding where one is given."""
    nets = import_module(f"tests.rule_nets.{framework}_nets")
    makers = [(f"mlp, {name}", "mlp", partial(nets.mlp, name, dtype)) for name in nets.OPERATIONS]
    makers += [(name, name, partial(make, dtype)) for name, make in nets.MODELS.items()]
    for label, kind, make in makers:
        model, *arrays = rounded(draw, make(), weights.INPUTS[kind], weights.BASELINES[kind])
        x, baseline = (nets.tensor(array, dtype) for array in arrays)
        yield label, model, x, methods(baseline, whole=kind != "mlp")


def explain(framework: str, dtype: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Attributions by "network/method", relative gaps by "network/method/gap", outputs; and what rules met."""
    found: dict[str, np.ndarray] = {}
    met: dict[str, Any] = {}
    for label, model, x, by_name in networks(framework, dtype):
        for name, method in by_name.items():
            e = method.explain(model, x, 1).numpy()
            key = f"{label}/{name}"
            found[key], found[f"{label}/output"] = e.attributions, e.score
            if e.delta is not None:
                found[f"{key}/gap"] = np.abs(e.delta) / np.abs(e.score - e.baseline_score)
            met[key] = e.provenance.coverage
    return found, met


def one(key: str, dtype: str, draw: int | None) -> np.ndarray:
    """The attributions by "network/method" on PyTorch."""
    label, _, name = key.partition("/")
    model, x, by_name = next(rest for found, *rest in networks("torch", dtype, draw) if found == label)
    return np.asarray(by_name[name].explain(model, x, 1).attributions.numpy())


def in_process(
    framework: str, dtype: str, out: Path, rounded: Sequence[str] = ()
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:  # fmt: skip
    """What ``explain`` finds in a process of its own; of what is ``rounded``, how far rounding moves it instead."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_ENABLE_X64": "1"}
    command = [sys.executable, "-m", "tests.rule_nets.worker", framework, dtype, str(out), *rounded]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    with np.load(out) as file:
        arrays = dict(file)
    return arrays, json.loads(str(arrays.pop("met")))


def main(framework: str, dtype: str, out: str, *keys: str) -> None:
    """Explain, or measure rounding, and save."""
    if keys:
        arrays, met = to_arrays({key: measure(partial(one, key)) for key in keys}), {}
    else:
        arrays, met = explain(framework, dtype)
    np.savez(out, met=json.dumps(met), **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
