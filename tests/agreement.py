"""The same weights on every framework: attributions of every method, put side by side.

``python -m tests.agreement worker RUNTIME OUT.npz [options]`` explains the zoo on one runtime; each runtime needs its
own process for Keras' backend and JAX's precision. ``compare`` holds two such files against each other.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.rounding import DRAWS, Moved, Rounding, by_sample, measure, rounded, to_arrays
from tests.zoo.inputs import inputs, to_channels_last

RUNTIMES = ("torch", "flax", "keras-tensorflow", "keras-jax", "keras-torch")
NETWORKS: dict[str, dict[str, int]] = {"digits_cnn": {}, "resnet": {}, "vit": {}, "text": {}}
THROUGH_RELU = ("guided_backprop", "deconvnet")
"""Methods that refuse networks without a relu."""
UNDER_RULES = (*THROUGH_RELU, "deep_lift", "deep_lift_shap", "lrp")
LAYER = {"digits_cnn": "conv1", "text": "embedding"}
"""A layer of the same name in every framework; the text classifier is attributed at its embedding only."""
PERTURBED = ("digits_cnn", "text")
"""Networks small enough for methods that run them many times."""
Explain = Callable[..., dict[str, np.ndarray]]
"""``explain(runtime, dtype, networks, *, batch)``: arrays by "network/...", with "network/output" among them.

``only=key`` leaves the other attributions out, ``draw=seed`` is for weights and inputs off by rounding."""
PROMISED = {"float32": 1e-5, "float64": 1e-10}


def methods(background: np.ndarray, *, brief: bool) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(label, name, parameters) of every method and integration rule; with fewer steps and samples where brief."""
    n_steps, n_samples = (8, 4) if brief else (50, 10)
    yield "saliency", "saliency", {}
    yield "input_x_gradient", "input_x_gradient", {}
    for rule in ("riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid", "gauss_legendre"):
        yield f"integrated_gradients {rule}", "integrated_gradients", {"rule": rule, "n_steps": n_steps}
    yield "integrated_gradients tol", "integrated_gradients", {"tol": 0.05, "max_steps": 4 * n_steps}
    shap = {"baseline": background, "n_samples": 2 * n_samples, "stdev": 0.1, "seed": 3}
    yield "gradient_shap", "gradient_shap", shap
    yield "noise_tunnel of integrated_gradients", "noise_tunnel", {"n_samples": 3, "seed": 1}
    for name in ("smooth_grad", "smooth_grad_squared", "var_grad"):
        yield name, name, {"n_samples": n_samples, "seed": 2}
    yield "guided_backprop", "guided_backprop", {}
    yield "deconvnet", "deconvnet", {}
    yield "deep_lift", "deep_lift", {}
    yield "deep_lift reveal_cancel", "deep_lift", {"rule": "reveal_cancel"}
    yield "deep_lift_shap", "deep_lift_shap", {"baseline": background}
    for composite in ("epsilon", "alpha_beta", "epsilon_plus", "epsilon_plus_flat"):
        yield f"lrp {composite}", "lrp", {"composite": composite}


def perturbations(background: np.ndarray, network: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, parameters) of methods without gradients, for the smallest networks: few features, few samples."""
    from whence.baselines import DataSet
    from whence.features import Grid

    images = network == "digits_cnn"
    groups = {"feature_mask": Grid(2)} if images else {}
    few = {"feature_mask": Grid(4) if images else np.arange(background.shape[1]) // 4}
    yield "feature_ablation", groups
    yield "feature_permutation", {"baseline": DataSet(background), "n_samples": 2, **few}
    yield "occlusion", {"window": 3, "stride": 2}
    yield "exact_shapley", {**few, "baseline": DataSet(background)}
    yield "shapley_sampling", {**groups, "n_samples": 3}
    yield "kernel_shap", {**groups, "n_samples": 90}
    yield "owen_values", {**few, "n_samples": 3}
    yield "lime", {**groups, "n_samples": 60, "baseline": "zeros"}
    if images:  # whole numbers cannot be dimmed
        yield "rise", {"n_samples": 60, "grid": 4}
        yield "sobol", {"n_samples": 4, "grid": 2}
        yield "hsic", {"n_samples": 16, "grid": 2}


def build(runtime: str, network: str, dtype: str, options: dict[str, int]) -> Any:
    """The zoo's network on one runtime."""
    if runtime == "torch":
        from tests.zoo import torch_models as models
    elif runtime == "flax":
        from tests.zoo import flax_models as models
    else:
        from tests.zoo import keras_models as models
    return models.build(network, dtype, **options)


def explain(
    runtime: str,
    dtype: str,
    networks: dict[str, dict[str, int]],
    *,
    batch: int,
    only: str = "",
    draw: int | None = None,
) -> dict[str, np.ndarray]:
    """Attributions channels first, by "network/method/place", and the networks' own outputs by "network/output"."""
    import whence

    found: dict[str, np.ndarray] = {}
    for network, options in networks.items():
        model = build(runtime, network, dtype, options)
        x = inputs(network, batch, dtype, seed=1, **options)
        background = inputs(network, 5, dtype, seed=2, **options)
        model, x, background = rounded(draw, model, x, background)
        if runtime != "torch":
            x, background = to_channels_last(x), to_channels_last(background)
        target = [i % 4 for i in range(batch)]
        layer = LAYER.get(network)
        places = {"text": [layer], "digits_cnn": [None, layer]}.get(network, [None])
        output = whence.wrap(model)
        with output.hold():
            found[f"{network}/output"] = output.ops.to_numpy(output.run(output.place(x))[0])
        for label, name, params in methods(background, brief=network == "resnet"):
            if name in (UNDER_RULES if options.get("smooth") else THROUGH_RELU if network == "vit" else ()):
                continue
            if name == "deconvnet" and network == "resnet" and runtime.startswith("keras"):
                # Keras pads with zeros before this max-pool: they tie with relus at zero, and deconvnet alone sees
                # which of them wins
                continue
            if "noise_tunnel" in name:
                params = {**params, "inner": whence.IntegratedGradients(n_steps=5)}
            for place in places:
                if only not in ("", f"{network}/{label}/{place or 'input'}"):
                    continue
                values = whence.explain(model, x, name, target, layer=place, **params).attributions
                moved = np.moveaxis(values, -1, 1) if values.ndim == 4 and runtime != "torch" else values
                found[f"{network}/{label}/{place or 'input'}"] = moved
        for name, params in perturbations(background, network) if network in PERTURBED else ():
            if only not in ("", f"{network}/{name}/input"):
                continue
            values = whence.explain(model, x, name, target, **params).attributions
            found[f"{network}/{name}/input"] = (
                np.moveaxis(values, -1, 1) if values.ndim == 4 and runtime != "torch" else values
            )
    return found


@dataclass(frozen=True)
class Row:
    """One comparison: max|a - b| / max|a|, what is allowed for it and why, the samples that are beyond the promise."""

    what: str
    difference: float
    allowed: float
    reason: str
    beyond: tuple[int, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether the promise holds."""
        return self.difference <= self.allowed


def compare(
    a: dict[str, np.ndarray], b: dict[str, np.ndarray], dtype: str, rounding: Rounding | None = None
) -> list[Row]:
    """One row per attribution of both.

    Where the models' own outputs differ by more than is promised, twenty times that is allowed. Where a row of float32
    has more than that, ``rounding`` is asked for what float32 can keep: twice as much as rounding alone moves the exact
    attribution is allowed then. That the frameworks do the same is shown by float64, which has no excuse.
    """
    rows = []
    for what in (what for what in a if what in b and not what.endswith("/output")):
        own = 20 * difference(*(found[what.split("/")[0] + "/output"] for found in (a, b)))
        allowed, reason = max((PROMISED[dtype], "promised"), (own, "20 x outputs"))
        same = a[what].shape == b[what].shape
        beyond = np.flatnonzero(by_sample(a[what], b[what]) > PROMISED[dtype]) if same else range(len(a[what]))
        rows.append(Row(what, difference(a[what], b[what]), allowed, reason, tuple(map(int, beyond))))
    if dtype != "float32" or rounding is None:
        return rows
    moved = rounding([row.what for row in rows if not row.kept and np.isfinite(row.difference)])
    return [row if row.kept or row.what not in moved else _by_rounding(row, moved[row.what]) for row in rows]


def _by_rounding(row: Row, moved: Moved) -> Row:
    if (allowed := 2 * moved.most) <= row.allowed:
        return row
    return replace(row, allowed=allowed, reason=moved.reason(PROMISED["float32"]))


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """max|a - b| / max|a|, infinite where the shapes differ."""
    if a.shape != b.shape:
        return float("inf")
    return float(np.abs(np.asarray(a, np.float64) - b).max() / np.abs(a).max())


def in_process(
    runtime: str,
    dtype: str,
    out: Path,
    *,
    batch: int,
    sizes: Sequence[str] = (),
    module: str = "tests.agreement",
    rounded: Sequence[str] = (),
    draws: int = DRAWS,
) -> dict[str, np.ndarray]:
    """What ``module`` finds in a process of its own; ``sizes`` such as ``"resnet.image=64"``.

    Of the attributions in ``rounded``, it finds how far rounding moves them instead, by so many draws.
    """
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_ENABLE_X64": "1"}
    if runtime.startswith("keras-"):
        environment["KERAS_BACKEND"] = runtime.removeprefix("keras-")
    command = [sys.executable, "-m", module, runtime, str(out), *sizes]
    command += ["--dtype", dtype, "--batch", str(batch)]
    command += ["--draws", str(draws), "--rounded", *rounded] if rounded else []
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    with np.load(out) as file:
        return dict(file)


def main(explain: Explain, default: dict[str, dict[str, int]]) -> None:
    """Explain on one runtime and save; ``default`` networks where none are named."""
    parser = argparse.ArgumentParser()
    parser.add_argument("runtime", choices=RUNTIMES)
    parser.add_argument("out", type=Path)
    parser.add_argument("sizes", nargs="*", help="network.option=value; naming a network leaves the others out")
    parser.add_argument("--dtype", choices=list(PROMISED), default="float32")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounded", nargs="*", default=[], help="attributions to move by rounding")
    parser.add_argument("--draws", type=int, default=DRAWS)
    options = parser.parse_args()
    networks: dict[str, dict[str, int]] = {}
    for text in options.sizes:
        network, _, rest = text.partition(".")
        name, _, value = rest.partition("=")
        networks.setdefault(network, {}).update({name: int(value)} if rest else {})
    networks = networks or default

    def one(key: str, dtype: str, draw: int | None) -> np.ndarray:
        subject = {network: networks[network] for network in networks if network == key.split("/")[0]}
        return explain(options.runtime, dtype, subject, batch=options.batch, only=key, draw=draw)[key]

    if options.rounded:
        found = to_arrays({key: measure(partial(one, key), options.draws) for key in options.rounded})
    else:
        found = explain(options.runtime, options.dtype, networks, batch=options.batch)
    np.savez(options.out, **found)


if __name__ == "__main__":
    main(explain, NETWORKS)
