"""``python -m tests.torch.zennit_relevance OUT.npz``: relevance by zennit, another implementation of LRP by hooks.

In a process of its own: zennit imports torchvision, for models that are not used here, and gets an empty stand-in.
"""

from __future__ import annotations

import sys
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

LOW, HIGH, EPSILON = -1.5, 2.0, 1e-7


def networks() -> dict[str, nn.Sequential]:
    """A convolutional network with biases, and one with batch normalisation behind convolution and dense layer."""
    torch.manual_seed(0)
    plain = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, 6, 3, stride=2, padding=1), nn.ReLU(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4),
    )  # fmt: skip
    normed = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 6, 3, stride=4, bias=False),
        nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(24, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4),
    )  # fmt: skip
    for module in normed:
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.eps = 1e-12  # zennit leaves it in the normalisation that it has merged
            for values, spread, middle in (
                (module.running_mean, 0.2, 0), (module.running_var, 0.2, 1), (module.weight, 0.7, 0.3),
                (module.bias, 0.2, 0),
            ):  # fmt: skip
                nn.init.uniform_(values, middle - spread, middle + spread)
    return {"plain": plain.double().eval(), "normed": normed.double().eval()}


def images() -> Tensor:
    """Images in which some values are exactly zero."""
    x = np.random.Generator(np.random.Philox(1)).uniform(LOW, HIGH, (3, 3, 8, 8))
    x[np.abs(x) < 0.2] = 0
    return torch.from_numpy(x)


def stand_in_for_torchvision() -> None:
    """Let zennit be imported without torchvision."""
    resnet = ModuleType("torchvision.models.resnet")
    resnet.Bottleneck = resnet.BasicBlock = type("Absent", (), {})  # type: ignore[attr-defined]
    stand_ins = {name: ModuleType(name) for name in ("torchvision", "torchvision.models")}
    sys.modules.update(stand_ins, **{"torchvision.models.resnet": resnet})


def found() -> dict[str, np.ndarray[Any, Any]]:
    """Relevance of the score of class 1, by "network/composite"."""
    stand_in_for_torchvision()
    from zennit import canonizers, composites, rules, types

    passing = [(kind, rules.Pass()) for kind in (types.Activation, types.BatchNorm)]
    others = [*passing, (types.AvgPool, rules.Norm(EPSILON))]

    def everywhere(rule: Any) -> Any:
        return lambda **options: composites.LayerMapComposite([(types.Linear, rule), *others], **options)

    def at_first(rule: Any) -> Any:
        rest, first = [(types.Linear, rules.Epsilon(EPSILON)), *others], [(types.Linear, rule)]
        return lambda **options: composites.SpecialFirstLayerMapComposite(rest, first, **options)

    same: dict[str, Any] = {"epsilon": EPSILON, "stabilizer": EPSILON}
    made: dict[str, Any] = {
        "epsilon": everywhere(rules.Epsilon(0.1)),
        "gamma": everywhere(rules.Gamma(0.25, EPSILON)),
        "alpha_beta": everywhere(rules.AlphaBeta(3.0, 2.0, EPSILON)),
        "z_plus": everywhere(rules.ZPlus(EPSILON)),
        "box": at_first(rules.ZBox(LOW, HIGH, EPSILON)),
        # by itself it would count the square of the bias, too
        "w_square": at_first(rules.WSquare(1e-12, zero_params="bias")),
        "flat": at_first(rules.Flat(1e-12)),
        "epsilon_plus": partial(composites.EpsilonPlus, **same),
        "epsilon_plus_flat": partial(composites.EpsilonPlusFlat, **same),
        "epsilon_alpha2_beta1": partial(composites.EpsilonAlpha2Beta1, **same),
        "epsilon_alpha2_beta1_flat": partial(composites.EpsilonAlpha2Beta1Flat, **same),
        "epsilon_gamma_box": lambda **options: composites.EpsilonGammaBox(
            torch.tensor(LOW), torch.tensor(HIGH), **same, **options
        ),
    }
    relevance = {}
    for network, model in networks().items():
        for name, make in made.items():
            x = images().requires_grad_()
            with make(canonizers=[canonizers.SequentialMergeBatchNorm()]).context(model) as modified:
                output = modified(x)
                chosen = nn.functional.one_hot(torch.ones(3, dtype=torch.int64), 4) * output
                (found,) = torch.autograd.grad(output, x, chosen.detach())
            relevance[f"{network}/{name}"] = found.numpy()
    return relevance


if __name__ == "__main__":
    np.savez(sys.argv[1], **found())
