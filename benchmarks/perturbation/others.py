"""lime and shap, which take any model as a function on arrays."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import redirect_stderr
from io import StringIO

import numpy as np
import shap
from lime.lime_image import LimeImageExplainer

from benchmarks.perturbation.workloads import COLUMNS, TARGET, Workload

Predict = Callable[[np.ndarray], np.ndarray]


def calls(workload: Workload, x: np.ndarray, predict: Predict) -> dict[str, Callable[[], object]]:
    """The calls to compare; ``predict`` takes rows as the framework has them and gives all outputs."""
    if workload.kind == "lime":
        return {"lime": lambda: _lime(workload, x, predict)}
    if workload.kind == "kernel":
        return {"shap KernelExplainer": lambda: _kernel(workload, x, predict)}
    if workload.kind == "orders":
        return {"shap PermutationExplainer": lambda: _permutation(x, predict)}
    return {}


def _lime(workload: Workload, x: np.ndarray, predict: Predict) -> object:
    first = x.shape[1] == 3  # lime wants channels last
    image = (np.moveaxis(x[0], 0, -1) if first else x[0]).astype(np.double)

    def outputs(images: np.ndarray) -> np.ndarray:
        rows = np.moveaxis(images, -1, 1) if first else images
        return predict(np.ascontiguousarray(rows, np.float32))

    with redirect_stderr(StringIO()):  # the released version always draws a progress bar
        return LimeImageExplainer(random_state=0).explain_instance(
            image, outputs, labels=(TARGET,), top_labels=None, hide_color=0, num_samples=len(workload.keep),
            segmentation_fn=lambda _: workload.mask)  # fmt: skip


def _kernel(workload: Workload, x: np.ndarray, predict: Predict) -> object:
    explainer = shap.KernelExplainer(lambda rows: predict(rows.astype(np.float32))[:, TARGET], np.zeros((1, COLUMNS)))
    return explainer.shap_values(x, nsamples=len(workload.keep), silent=True)


def _permutation(x: np.ndarray, predict: Predict) -> object:
    explainer = shap.PermutationExplainer(
        lambda rows: predict(rows.astype(np.float32))[:, TARGET], shap.maskers.Independent(np.zeros((1, COLUMNS)))
    )
    return explainer(x, max_evals=12 * 2 * COLUMNS + 1, silent=True)
