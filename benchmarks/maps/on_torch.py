"""PyTorch by hand: the network in two pieces, eager, parameters frozen, channels last; and Captum."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial

import torch
from captum import attr as captum
from torch import Tensor, nn
from torch.nn.functional import interpolate

from benchmarks.maps.workloads import EPSILON, IMAGE, TARGET, Workload
from tests.zoo.inputs import inputs
from tests.zoo.torch_models import build

PACKAGES = ("torch", "captum")
Call = Callable[[], object]


class Case:
    """One workload's model and inputs, and the calls to compare."""

    def __init__(self, workload: Workload) -> None:
        torch.set_num_threads(1)
        self.workload, self.layer = workload, f"stage{workload.stage}"
        self.model = build("resnet", image=IMAGE)
        self.x = torch.from_numpy(inputs("resnet", workload.batch, image=IMAGE))
        names = [name for name, _ in self.model.named_children()]
        hand = deepcopy(self.model).requires_grad_(False).to(memory_format=torch.channels_last)
        cut = names.index(self.layer) + 1
        modules = list(hand)
        self.whole, self.front, self.tail = hand, nn.Sequential(*modules[:cut]), nn.Sequential(*modules[cut:])
        self.last = self.x.contiguous(memory_format=torch.channels_last)

    def floors(self) -> dict[str, Call]:
        """The passes by hand, by rows in one batch."""
        if self.workload.method == "grad_cam":
            return {"1": self._grad_cam}
        by_hand = {"score_cam": self._score_cam, "ablation_cam": self._ablation_cam}[self.workload.method]
        return {str(rows): partial(by_hand, rows) for rows in self.workload.floor_rows}

    def others(self) -> dict[str, Call]:
        """Captum, which has Grad-CAM only."""
        if self.workload.method != "grad_cam":
            return {}
        cam = captum.LayerGradCam(self.model, self.model.get_submodule(self.layer))
        return {"Captum": lambda: cam.attribute(self.x, TARGET)}

    def executions(self, call: Call) -> None:
        """Nothing is compiled in eager PyTorch."""
        return None

    def _grad_cam(self) -> Tensor:
        with torch.inference_mode():
            front = self.front(self.last)
        a = front.clone().requires_grad_()
        (g,) = torch.autograd.grad(self.tail(a)[:, TARGET].sum(), a)
        return (g.mean((2, 3), keepdim=True) * a.detach()).sum(1)

    @torch.inference_mode()
    def _score_cam(self, rows: int) -> Tensor:
        a = self.front(self.last)[0]
        maps = interpolate(a[:, None], size=(IMAGE, IMAGE), mode="bilinear", align_corners=False)
        scores = []
        for mask in maps.split(rows):
            low, high = mask.amin((2, 3), keepdim=True), mask.amax((2, 3), keepdim=True)
            masked = self.last * (mask - low) / (high - low).clamp(min=EPSILON)
            scores.append(self.whole(masked.contiguous(memory_format=torch.channels_last))[:, TARGET])
        return torch.einsum("k,khw->hw", torch.cat(scores), a)[None]

    @torch.inference_mode()
    def _ablation_cam(self, rows: int) -> Tensor:
        a = self.front(self.last)
        score = self.tail(a)[0, TARGET]
        scores = []
        for keep in (1 - torch.eye(a.shape[1]))[:, :, None, None].split(rows):
            scores.append(self.tail((a * keep).contiguous(memory_format=torch.channels_last))[:, TARGET])
        return torch.einsum("k,khw->hw", (score - torch.cat(scores)) / score.abs(), a[0])[None]
