"""Model evaluations that Shapley estimators need: whence beside SHAP and Captum, against exact values.

The games: three models over 12 features, tabulated on all coalitions, and a gradient-boosted model over 30, explained
against ten background rows, whose exact values are TreeSHAP's. Errors are relative L2 norms, the median over seeds and
samples; the evaluations to reach an error are interpolated between budgets in the logarithm of both.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shap
import torch
from captum import attr as captum
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier

import whence
from benchmarks import report
from benchmarks.trained import networks

SEEDS, WIDE_SEEDS = 10, 40
BUDGETS = (40, 80, 160, 320, 640, 1280, 2048)
WIDE_BUDGETS = (100, 200, 400, 800, 1600, 3200)
LEVELS = (0.10, 0.05)


@dataclass(frozen=True)
class Game:
    """v as a model of which features are present: rows of zeros and ones to values ``[K]``."""

    name: str
    size: int
    v: Callable[[np.ndarray], np.ndarray]
    known: np.ndarray | None = None

    def __call__(self, present: np.ndarray) -> np.ndarray:
        """v of coalitions ``[K, size]``."""
        return self.v(np.asarray(present) > 0.5)

    @cached_property
    def exact(self) -> np.ndarray:
        """Shapley values ``[size]``."""
        return whence.ExactShapley().explain(self, self.all).attributions[0] if self.known is None else self.known

    @property
    def all(self) -> np.ndarray:
        """Every feature present, ``[1, size]``."""
        return np.ones((1, self.size))

    def on_torch(self, x: torch.Tensor) -> torch.Tensor:
        """The same for Captum."""
        return torch.from_numpy(self(x.numpy()))


def kernel(game: Game, budget: int, seed: int) -> np.ndarray:
    """KernelSHAP of this library."""
    return whence.KernelSHAP(n_samples=budget, seed=seed).explain(game, game.all).attributions[0]


def orders(game: Game, budget: int, seed: int) -> np.ndarray:
    """ShapleySampling of this library."""
    method = whence.ShapleySampling(n_samples=max(budget // (game.size - 1) // 2 * 2, 1), seed=seed)
    return method.explain(game, game.all).attributions[0]


def shap_kernel(game: Game, budget: int, seed: int) -> np.ndarray:
    """SHAP's KernelExplainer without its default choice of ten features."""
    np.random.seed(seed)
    explainer = shap.KernelExplainer(game, 0 * game.all)
    return np.asarray(explainer.shap_values(game.all, nsamples=budget, l1_reg=False, silent=True))[0]


def shap_permutation(game: Game, budget: int, seed: int) -> np.ndarray:
    """SHAP's PermutationExplainer, orders forwards and backwards."""
    explainer = shap.PermutationExplainer(game, shap.maskers.Independent(0 * game.all), seed=seed)
    return np.asarray(explainer(game.all, max_evals=max(budget, 2 * game.size + 1), silent=True).values)[0]


def captum_kernel(game: Game, budget: int, seed: int) -> np.ndarray:
    """Captum's KernelShap."""
    torch.manual_seed(seed)
    method = captum.KernelShap(game.on_torch)
    return method.attribute(torch.from_numpy(game.all), n_samples=budget, perturbations_per_eval=budget).numpy()[0]


def captum_sampling(game: Game, budget: int, seed: int) -> np.ndarray:
    """Captum's ShapleyValueSampling."""
    torch.manual_seed(seed)
    count, method = max(budget // game.size, 1), captum.ShapleyValueSampling(game.on_torch)
    return method.attribute(torch.from_numpy(game.all), n_samples=count, perturbations_per_eval=game.size).numpy()[0]


ESTIMATORS: dict[str, Callable[[Game, int, int], np.ndarray]] = {
    "whence KernelSHAP": kernel,
    "whence ShapleySampling": orders,
    "shap KernelExplainer, l1_reg=False": shap_kernel,
    "shap PermutationExplainer": shap_permutation,
    "Captum KernelShap": captum_kernel,
    "Captum ShapleyValueSampling": captum_sampling,
}


def measure() -> None:
    """Measure and write the tables."""
    warnings.simplefilter("ignore")
    narrow = list(tabulated())
    reached = []
    for name in dict.fromkeys(game.name for game in narrow):
        for label, estimator in ESTIMATORS.items():
            errors = _errors(estimator, [g for g in narrow if g.name == name], BUDGETS, SEEDS)
            reached.append([name, label, *(_needed(errors, level) for level in LEVELS), f"{errors[-1]:.1%}"])
    thirty = list(boosted_on_thirty())
    wide = [[label, *(f"{e:.3f}" for e in _errors(estimator, thirty, WIDE_BUDGETS, WIDE_SEEDS))]
            for label, estimator in ESTIMATORS.items()]  # fmt: skip
    report.write(
        "evaluations",
        report.head(
            "Model evaluations that Shapley estimators need",
            "evaluations",
            ("torch", "scikit-learn", "shap", "captum"),
            f"Relative L2 error against exact values, median of three samples and {SEEDS} seeds, {WIDE_SEEDS} for "
            "30 features.",
        ),
        "12 features: evaluations of v until the error is at most so much, interpolated between budgets on logarithmic "
        f"scales, and the error after {BUDGETS[-1]}.",
        report.table(["model", "estimator", *(f"{level:.0%}" for level in LEVELS), f"at {BUDGETS[-1]}"], reached),
        "30 features, gradient boosting on the breast cancer table, ten background rows, exact values by TreeSHAP: "
        "error by evaluations of v.",
        report.table(["estimator", *map(str, WIDE_BUDGETS)], wide),
        "Both libraries' orders, one forwards and one backwards, are the same estimator, and differ by their draws.",
    )


def _errors(
    estimator: Callable[[Game, int, int], np.ndarray], games: list[Game], budgets: tuple[int, ...], seeds: int
) -> list[float]:
    return [float(np.median([np.linalg.norm(estimator(game, budget, seed) - game.exact) / np.linalg.norm(game.exact)
                             for game in games for seed in range(seeds)])) for budget in budgets]  # fmt: skip


def _needed(errors: list[float], level: float) -> str:
    """The budget at which the error falls to ``level``."""
    for i, error in enumerate(errors):
        if error <= level:
            if i == 0:
                return f"< {BUDGETS[0]}"
            share = np.log(errors[i - 1] / level) / np.log(errors[i - 1] / error)
            return f"{BUDGETS[i - 1] * (BUDGETS[i] / BUDGETS[i - 1]) ** share:.0f}"
    return f"> {BUDGETS[-1]}"


def tabulated() -> Iterator[Game]:
    """Three samples each of an MLP over groups of columns, a CNN over patches and a boosted model of 12 columns."""
    members = (np.arange(2**12)[:, None] >> np.arange(12) & 1).astype(bool)
    resnet, _, mlp = networks(3)
    cells = (torch.arange(32)[:, None] // 11) * 4 + torch.arange(32) // 8
    for network, name, feature in ((mlp, "MLP", torch.arange(30) % 12), (resnet, "CNN, 12 patches", cells)):
        present = torch.from_numpy(members)[:, feature].float()
        for x in network.x:
            with torch.inference_mode():
                rows = present[:, None] * x if x.ndim > 1 else present * x
                target = network.model(x[None]).argmax()
                v = torch.cat([network.model(part)[:, target] for part in rows.split(256)]).double().numpy()
            yield _table(name, v)
    data = load_breast_cancer()
    model = GradientBoostingClassifier(random_state=0).fit(data.data[:-50, :12], data.target[:-50])
    for x in data.data[-3:, :12]:
        yield _table("gradient boosting", model.decision_function(np.where(members, x, data.data[:-50, :12].mean(0))))


def _table(name: str, v: np.ndarray) -> Game:
    return Game(name, 12, lambda present: v[present @ (1 << np.arange(12))])


def boosted_on_thirty() -> Iterator[Game]:
    """Three samples of a boosted model of 30 columns; absent ones are averaged over ten rows."""
    data = load_breast_cancer()
    model = GradientBoostingClassifier(random_state=0).fit(data.data[:-50], data.target[:-50])
    rows = data.data[:500:50]
    exact = shap.TreeExplainer(model, rows, feature_perturbation="interventional").shap_values(data.data[-3:])
    for x, known in zip(data.data[-3:], exact, strict=True):

        def v(present: np.ndarray, x: np.ndarray = x) -> np.ndarray:
            points = np.where(present[:, None], x, rows)
            return model.decision_function(points.reshape(-1, 30)).reshape(len(present), -1).mean(1)

        yield Game("thirty", 30, v, known)
