"""How exactly attributions add up to the change of the score, where theory says how exactly they should."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from torch import Tensor, nn

import whence
from benchmarks import report
from benchmarks.agreement_captum import CAPTUM_RULES
from tests.zoo.inputs import inputs
from tests.zoo.torch_models import build

STEPS = (50, 100, 200)


def measure() -> None:
    """Measure and write the tables."""
    report.write(
        "completeness",
        report.head("Completeness", "completeness", ("torch", "captum"), "Everything in float64, baseline zero."),
        "Vision transformers, |sum of attributions - change of the score| over |change|, median and worst of 8 inputs. "
        "The zoo's weights make the network curve strongly; the other has PyTorch's initial weights.",
        report.table(["weights", "rule", *(f"{n} steps" for n in STEPS)], _transformers()),
        "Linear model, |attributions - exact| over the largest exact one, worst of 16 inputs, 50 steps.",
        report.table(["rule", "whence", "Captum"], _linear()),
    )


def _transformers() -> Iterator[list[object]]:
    x = torch.from_numpy(inputs("vit", 8, dtype="float64"))
    for weights, model in (("zoo", build("vit", dtype="float64")), ("initial", _initial())):
        for rule in CAPTUM_RULES:
            gaps = [completeness_gaps(model, x, rule, n_steps) for n_steps in STEPS]
            yield [weights, rule, *(f"{gap.median():.0e} / {gap.max():.0e}" for gap in gaps)]


def completeness_gaps(model: nn.Module, x: Tensor, rule: str, n_steps: int) -> Tensor:
    """Relative completeness gaps ``[B]``."""
    found = whence.IntegratedGradients(rule=rule, n_steps=n_steps).explain(model, x)
    return found.delta.abs() / (found.score - found.baseline_score).abs()


def _initial() -> nn.Module:
    torch.manual_seed(0)
    model = build("vit", dtype="float64")
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return model


def _linear() -> Iterator[list[object]]:
    torch.manual_seed(0)
    model, x, target = nn.Linear(20, 5).double(), torch.randn(16, 20, dtype=torch.float64), 3
    exact = (x * model.weight[target]).detach()
    for rule, captum_rule in CAPTUM_RULES.items():
        ours = whence.IntegratedGradients(rule=rule).explain(model, x, target).attributions
        theirs = CaptumIntegratedGradients(model).attribute(x, target=target, method=captum_rule)
        yield [rule, *(f"{(found - exact).abs().max() / exact.abs().max():.0e}" for found in (ours, theirs))]
