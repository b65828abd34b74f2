"""How exactly attributions add up to the change of the score, where theory says how exactly they should."""

from __future__ import annotations

import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients

import whence
from benchmarks import report
from tests.zoo.inputs import inputs
from tests.zoo.torch_models import build
from whence.core.quadrature import RULES

CAPTUM_NAMES = {"gauss_legendre": "gausslegendre"}


def main() -> None:
    """Measure and write the tables."""
    report.write(
        "completeness",
        report.head("Completeness", "completeness", ("torch", "captum"), "Everything in float64, baseline zero, 50 steps."),
        "Vision transformer, |sum of attributions - change of the score| over |change|, worst of 8 inputs (target: 1e-8 "
        "for Gauss-Legendre).",
        report.table(["rule", "relative gap"], [[rule, f"{vit_gap(rule):.1e}"] for rule in RULES]),
        "Linear model, |attributions - exact| over the largest exact one, worst of 16 inputs (target: 1e-12).",
        report.table(
            ["rule", "whence", "Captum"],
            [[rule, f"{linear_error(rule):.1e}", f"{captum_linear_error(rule):.1e}"] for rule in RULES],
        ),
    )


def vit_gap(rule: str) -> float:
    """The worst completeness gap on the zoo's vision transformer."""
    model, x = build("vit", dtype="float64"), torch.from_numpy(inputs("vit", 8, dtype="float64"))
    found = whence.IntegratedGradients(rule=rule).explain(model, x)
    return (found.delta.abs() / (found.score - found.baseline_score).abs()).max().item()


def linear_error(rule: str) -> float:
    """whence's largest error on a linear model, where every rule is exact."""
    model, x, exact = _linear()
    found = whence.IntegratedGradients(rule=rule).explain(model, x, 3).attributions
    return ((found - exact).abs().max() / exact.abs().max()).item()


def captum_linear_error(rule: str) -> float:
    """Captum's largest error on the same model."""
    model, x, exact = _linear()
    found = CaptumIntegratedGradients(model).attribute(x, target=3, method=CAPTUM_NAMES.get(rule, rule))
    return ((found - exact).abs().max() / exact.abs().max()).item()


def _linear() -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    model, x = torch.nn.Linear(20, 5).double(), torch.randn(16, 20, dtype=torch.float64)
    return model, x, (x * model.weight[3]).detach()
