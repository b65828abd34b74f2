"""PyTorch by hand: eager, in inference mode, parameters frozen, channels last; and Captum."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from captum import attr as captum
from torch import Tensor, nn

from benchmarks.perturbation.workloads import BATCH, COLUMNS, HIDDEN, TARGET, Workload
from tests.zoo.inputs import inputs
from tests.zoo.torch_models import build

PACKAGES = ("torch", "captum")
Call = Callable[[], object]


class Case:
    """One workload's model and inputs, and the calls to compare."""

    def __init__(self, workload: Workload) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.workload = workload
        if workload.image is None:
            hidden = nn.Linear(COLUMNS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2)
            model, self.x = nn.Sequential(*hidden), torch.randn(BATCH, COLUMNS)
        else:
            model = build("resnet", image=workload.image)
            self.x = torch.from_numpy(inputs("resnet", 1, image=workload.image))
        self.model = model.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.mask = torch.from_numpy(workload.mask)[None]

    def floor(self, rows: int) -> Call:
        """The scores of all variants by hand, ``rows`` at a time."""
        return partial(self._floor, [torch.from_numpy(part) for part in self.workload.steps(rows, len(self.x))])

    @torch.inference_mode()
    def _floor(self, parts: list[Tensor]) -> Tensor:
        scores, numbers = [], self.mask.flatten()
        for part in parts:
            present = part[:, numbers].reshape(len(part), 1, *self.mask.shape[self.x.ndim == 2 :])
            points = torch.where(present, self.x, torch.zeros((), dtype=self.x.dtype)).flatten(0, 1)
            points = points.contiguous(memory_format=torch.channels_last) if points.ndim == 4 else points
            scores.append(self.model(points)[:, TARGET].reshape(len(part), len(self.x)))
        found = torch.cat(scores)
        return torch.linalg.lstsq(torch.cat(parts).to(found.dtype), found).solution if self.workload.solve else found

    @torch.inference_mode()
    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Outputs of rows as arrays."""
        return np.asarray(self.model(torch.from_numpy(rows)).numpy())

    def others(self) -> dict[str, Call]:
        """Captum, one variant at a time as it does unless told otherwise, and many at a time."""
        name, count, mask = self.workload.kind, len(self.workload.keep), self.mask[None]
        call, many = {
            "occlusion": (partial(captum.Occlusion(self.model).attribute, self.x, (3, 56, 56), (3, 28, 28), None), 16),
            "ablation": (partial(captum.FeatureAblation(self.model).attribute, self.x, feature_mask=mask), 16),
            "lime": (partial(captum.Lime(self.model).attribute, self.x, feature_mask=mask, n_samples=count), 16),
            "kernel": (partial(captum.KernelShap(self.model).attribute, self.x, n_samples=count), count),
            "orders": (partial(captum.ShapleyValueSampling(self.model).attribute, self.x, n_samples=25), 100),
            "rise": (None, 0),
        }[name]
        if call is None:
            return {}
        return {
            "Captum": partial(call, target=TARGET),
            f"Captum, perturbations_per_eval={many}": partial(call, target=TARGET, perturbations_per_eval=many),
        }
