"""Gradients spent and error reached by integrated gradients with a tolerance, beside fixed rules.

The error is the relative L2 distance of the attributions of one input to those of 2000 midpoint steps, computed by
hand in float64 accumulation.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

import whence
from benchmarks import report
from benchmarks.trained import networks
from whence.core.quadrature import RULES

INPUTS, REFERENCE_STEPS, FIXED_STEPS = 12, 2000, 50
TOLERANCES = (0.05, 0.01)
HELD = 1.15
"""The estimate counts as right while the true error at the third quartile is within this factor of the tolerance."""


def measure() -> None:
    """Measure and write the tables."""
    adaptive, fixed, trained = [], [], networks(INPUTS)
    for network in trained:
        outputs = {"logit": network.model, "probability": nn.Sequential(network.model, nn.Softmax(-1))}
        for output, model in outputs.items():
            with torch.no_grad():
                target = model(network.x).argmax(1)
            exact, name = reference(model, network.x, target), [network.name, output]
            for tol in TOLERANCES:
                found = whence.IntegratedGradients(tol=tol).explain(model, network.x, target)
                steps = np.array(found.provenance.notes["n_steps"])
                errors = relative_errors(found.attributions, exact)
                held = np.quantile(errors, 0.75) <= HELD * tol
                adaptive.append([*name, f"{tol:.0%}", f"{steps.mean():.0f} ({steps.max()})", _percent(errors),
                                 "yes" if held else "no"])  # fmt: skip
            for n_steps in (round(steps.mean()), FIXED_STEPS):
                each = [_percent(fixed_errors(model, network.x, target, exact, rule, n_steps)) for rule in RULES]
                fixed.append([*name, n_steps, *each])
    report.write(
        "accuracy",
        report.head(
            "Accuracy of integrated gradients",
            "accuracy",
            ("torch", "scikit-learn"),
            f"{INPUTS} held-out inputs, baseline zero, predicted class. Errors: relative L2 distance of an input's "
            f"attributions to those of {REFERENCE_STEPS} midpoint steps; median / third quartile / worst input, in per "
            "cent. Held-out accuracy: " + ", ".join(f"{t.name} {t.accuracy:.0%}" for t in trained) + ".",
        ),
        f"With `tol`; the estimate holds if the third quartile is at most {HELD} tol.",
        report.table(["network", "output", "tol", "gradients, mean (most)", "true error, %", "holds"], adaptive),
        f"Fixed rules: at the mean number of gradients that `tol={TOLERANCES[-1]:.0%}` spent, and at {FIXED_STEPS}.",
        report.table(["network", "output", "steps", *RULES], fixed),
    )


def reference(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """Attributions of many midpoint steps from baseline zero."""
    total = torch.zeros_like(x, dtype=torch.float64)
    for alphas in ((torch.arange(REFERENCE_STEPS) + 0.5) / REFERENCE_STEPS).split(8):
        points = (alphas.view(-1, *[1] * x.ndim) * x).flatten(0, 1).requires_grad_()
        score = model(points).gather(1, target.repeat(len(alphas))[:, None]).sum()
        gradients = torch.autograd.grad(score, points)[0]
        total += gradients.unflatten(0, (len(alphas), -1)).sum(0, dtype=torch.float64)
    return x * total / REFERENCE_STEPS


def fixed_errors(model: nn.Module, x: Tensor, target: Tensor, exact: Tensor, rule: str, n_steps: int) -> np.ndarray:
    """Errors ``[B]`` of a fixed rule."""
    found = whence.IntegratedGradients(rule=rule, n_steps=n_steps).explain(model, x, target)
    return relative_errors(found.attributions, exact)


def relative_errors(found: Tensor, exact: Tensor) -> np.ndarray:
    """Relative L2 distances ``[B]``."""
    return ((found - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)).numpy()


def _percent(errors: np.ndarray) -> str:
    return " / ".join(f"{100 * np.quantile(errors, q):.2g}" for q in (0.5, 0.75, 1))
