"""Perturbation methods on PyTorch over the floor: the same number of forward rows by hand, at the best batch size.

The floor composes each variant with one ``where`` from masks made beforehand, runs tiles in inference mode with frozen
parameters and channels last, keeps the scores, and solves one least-squares problem where the method does. Beside it
Captum, at its defaults and at its best setting, and the lime and shap packages.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from captum import attr as captum
from torch import Tensor, nn

import whence
from benchmarks import report
from benchmarks.harness import fastest, ratios
from tests.zoo.inputs import inputs
from tests.zoo.torch_models import build

Call = Callable[[], object]
ROWS = (16, 32, 64)
TABLE_ROWS = (600, 1200, 2400, 6000)


@dataclass(frozen=True)
class Case:
    """One method on one model: what is called, how many rows that takes, and in how many rounds it is timed."""

    title: str
    model: nn.Module
    x: Tensor
    keep: np.ndarray
    mask: Tensor
    calls: dict[str, Call]
    rounds: int
    rows: tuple[int, ...] = ROWS
    solve: bool = False

    def floor(self, rows: int) -> Callable[[], object]:
        """The scores of all variants by hand, ``rows`` at a time."""
        return partial(_floor, self.model, self.x, torch.from_numpy(self.keep), self.mask, rows, self.solve)


def _floor(model: nn.Module, x: Tensor, keep: Tensor, mask: Tensor, rows: int, solve: bool) -> Tensor:
    scores, step = [], max(rows // len(x), 1)
    flat = mask.flatten()
    with torch.inference_mode():
        for part in keep.split(step):
            present = part[:, flat].reshape(len(part), 1, *mask.shape)
            points = torch.where(present, x, torch.zeros((), dtype=x.dtype)).flatten(0, 1)
            points = points.contiguous(memory_format=torch.channels_last) if points.ndim == 4 else points
            scores.append(model(points)[:, 1].reshape(len(part), len(x)))
        found = torch.cat(scores)
        return torch.linalg.lstsq(keep.to(found.dtype), found).solution if solve else found


def measure() -> None:
    """Measure and write the table."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows = [row for case in cases() for row in _row(case)]
    report.write(
        "perturbation",
        report.head(
            "Speed of perturbation methods on torch",
            "perturbation",
            ("torch", "captum", "lime", "shap"),
            "Floor: as many rows by hand, in inference mode, frozen parameters, channels last, rows per call the best "
            "of a few, masks made beforehand, one least-squares solution where the method has one. One "
            "thread on one core, all calls interleaved in one process; median over rounds [quartiles] of CPU time over "
            "the floor's.",
        ),
        report.table(["workload", "rows", "floor's rows per call", "what", "CPU time over the floor"], rows),
    )


def _row(case: Case) -> Iterator[list[object]]:
    floors = {str(rows): case.floor(rows) for rows in case.rows}
    best = fastest(floors, rounds=2)
    for name, ratio in ratios({"floor": floors[best], **case.calls}, "floor", rounds=case.rounds).items():
        if name != "floor":
            yield [case.title, len(case.keep) * len(case.x), best, name, ratio]


def cases() -> Iterator[Case]:
    """The workloads of images, then those of a table."""
    yield from _windows()
    yield from _masks()
    yield from _table()


def _frozen(model: nn.Module) -> nn.Module:
    return model.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def _picture(image: int) -> tuple[nn.Module, Tensor]:
    return _frozen(build("resnet", image=image)), torch.from_numpy(inputs("resnet", 1, image=image))


def _one_off(n: int) -> np.ndarray:
    return ~np.eye(n, dtype=bool)


def _patches(image: int, size: int) -> Tensor:
    side = torch.arange(image) // size
    return (side[:, None] * (image // size) + side)[None]


def _windows() -> Iterator[Case]:
    model, x = _picture(224)
    mask = _patches(224, 16)
    window = dict(sliding_window_shapes=(3, 16, 16), strides=(3, 8, 8), target=1)
    # the floor's masks are patches here: composing costs the same, whichever pixels are replaced
    yield Case("Occlusion 16/8, 224 px, ResNet", model, x, np.tile(_one_off(196), (4, 1))[:729], mask, {
        "whence": lambda: whence.Occlusion(window=16, stride=8).explain(model, x, 1),
        "Captum": lambda: captum.Occlusion(model).attribute(x, **window),
        "Captum, perturbations_per_eval=32": lambda: captum.Occlusion(model).attribute(
            x, perturbations_per_eval=32, **window),
    }, rounds=3)  # fmt: skip
    ablation = dict(feature_mask=mask[None], target=1)
    yield Case("FeatureAblation, 196 patches, 224 px, ResNet", model, x, _one_off(196), mask, {
        "whence": lambda: whence.FeatureAblation(feature_mask=mask[None]).explain(model, x, 1),
        "Captum": lambda: captum.FeatureAblation(model).attribute(x, **ablation),
        "Captum, perturbations_per_eval=32": lambda: captum.FeatureAblation(model).attribute(
            x, perturbations_per_eval=32, **ablation),
    }, rounds=5)  # fmt: skip


def _masks() -> Iterator[Case]:
    from lime.lime_image import LimeImageExplainer

    model, x = _picture(112)
    mask = _patches(112, 28)
    keep = np.random.default_rng(0).random((1000, 16)) < 0.5
    yield Case("RISE, 1000 masks, 112 px, ResNet", model, x, keep, mask, {
        "whence": lambda: whence.RISE(n_samples=1000).explain(model, x, 1),
    }, rounds=3)  # fmt: skip
    image = np.moveaxis(x.numpy()[0], 0, -1).astype(np.double)

    def predict(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(np.moveaxis(images, -1, 1)).float()).numpy()

    def by_lime() -> object:
        return LimeImageExplainer(random_state=0).explain_instance(
            image, predict, labels=(1,), top_labels=None, hide_color=0, num_samples=1000, batch_size=32,
            segmentation_fn=lambda _: mask[0].numpy(), progress_bar=False)  # fmt: skip

    surrogate = dict(feature_mask=mask[None], target=1, n_samples=1000)
    yield Case("LIME, 1000 samples, 16 segments, 112 px, ResNet", model, x, keep, mask, {
        "whence": lambda: whence.LIME(feature_mask=mask[None], baseline="zeros").explain(model, x, 1),
        "Captum": lambda: captum.Lime(model).attribute(x, **surrogate),
        "Captum, perturbations_per_eval=32": lambda: captum.Lime(model).attribute(
            x, perturbations_per_eval=32, **surrogate),
        **({"lime": by_lime} if _takes_progress(LimeImageExplainer) else {}),
    }, rounds=3, solve=True)  # fmt: skip


def _takes_progress(explainer: Any) -> bool:
    """Whether this release of lime can be told to draw no bar."""
    from inspect import signature

    return "progress_bar" in signature(explainer.explain_instance).parameters


def _table() -> Iterator[Case]:
    torch.manual_seed(0)
    hidden = nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)
    model, x, mask = _frozen(nn.Sequential(*hidden)), torch.randn(8, 30), torch.arange(30)
    keep = np.random.default_rng(0).random((300, 30)) < 0.5
    kernel = captum.KernelShap(model)
    yield Case("KernelSHAP, 300 samples, 8 rows of 30, MLP", model, x, keep, mask, {
        "whence": lambda: whence.KernelSHAP(n_samples=300).explain(model, x, 1),
        "whence, another seed each time": _fresh(model, x),
        "Captum": lambda: kernel.attribute(x, target=1, n_samples=300),
        "Captum, perturbations_per_eval=300": lambda: kernel.attribute(
            x, target=1, n_samples=300, perturbations_per_eval=300),
    }, rounds=9, rows=TABLE_ROWS, solve=True)  # fmt: skip
    orders = np.random.default_rng(0).random((25 * 30, 30)) < 0.5
    sampling = captum.ShapleyValueSampling(model)
    yield Case("Shapley sampling, 25 orders, 8 rows of 30, MLP", model, x, orders, mask, {
        "whence": lambda: whence.ShapleySampling(n_samples=25).explain(model, x, 1),
        "Captum": lambda: sampling.attribute(x, target=1, n_samples=25),
        "Captum, perturbations_per_eval=100": lambda: sampling.attribute(
            x, target=1, n_samples=25, perturbations_per_eval=100),
    }, rounds=9, rows=TABLE_ROWS)  # fmt: skip


def _fresh(model: nn.Module, x: Tensor) -> Call:
    """Coalitions drawn anew in every call."""
    seeds = iter(range(10**9))
    return lambda: whence.KernelSHAP(n_samples=300, seed=next(seeds)).explain(model, x, 1)
