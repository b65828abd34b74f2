"""PyTorch by hand (eager, frozen parameters, channels last), and Captum."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial

import torch
from captum import attr as captum
from torch import Tensor, nn

from benchmarks.speed.workloads import Workload
from tests.torch.zennit_relevance import stand_in_for_torchvision
from tests.zoo.inputs import inputs
from tests.zoo.torch_models import build

PACKAGES = ("torch", "captum")
Call = Callable[[], object]


class Case:
    """One workload's model and inputs, and the calls to compare."""

    def __init__(self, workload: Workload) -> None:
        torch.set_num_threads(1)
        self.workload = workload
        self.model, self.x = _mlp(workload) if workload.network == "mlp" else _zoo(workload)
        self.target = torch.arange(workload.batch) % 2
        hand = _by_hand(self.model, workload)
        self.forward, self.values = hand, self.x
        if workload.layer:
            with torch.inference_mode():
                self.values = self.model.get_submodule(workload.layer)(self.x).clone()
        if self.values.ndim == 4:
            self.values = self.values.contiguous(memory_format=torch.channels_last)

    def floors(self) -> dict[str, Call]:
        """The gradients by hand, by the number of points in one batch."""
        if self.workload.method == "saliency":
            return {"1": self._saliency}
        compute = {"integrated_gradients": self._path, "smooth_grad": self._noisy}[self.workload.method]
        return {str(points): partial(compute, points) for points in self.workload.tiles}

    def forward_pass(self) -> None:
        """One forward pass, at a baseline."""
        with torch.inference_mode():
            self.forward(torch.zeros_like(self.values))

    def others(self) -> dict[str, Call]:
        """The same attributions by whence with the floor's memory format of weights, and by Captum."""
        found = self._captum()
        if self.workload.network == "resnet":
            model = deepcopy(self.model).to(memory_format=torch.channels_last)
            found["whence, model channels last"] = self.workload.explain(model, self.x, self.target)
        return found

    def by_rules(self, method: str) -> dict[str, Call]:
        """The same by Captum, which has a rule for the operations of neither network's LRP, or by zennit."""
        x, target = self.x, self.target
        if method == "guided_backprop":
            guided = captum.GuidedBackprop(self.model)
            return {"Captum": lambda: guided.attribute(x, target)}
        if method == "deep_lift":
            lift = captum.DeepLift(self.model)
            return {"Captum": lambda: lift.attribute(x, torch.zeros_like(x), target)}
        if method == "lrp epsilon_plus_flat" and self.workload.network == "resnet":
            return {"zennit": self._zennit}
        return {}

    def _zennit(self) -> Tensor:
        stand_in_for_torchvision()
        from zennit.composites import EpsilonPlusFlat

        x = self.x.detach().requires_grad_()
        with EpsilonPlusFlat().context(self.model) as modified:
            score = modified(x).gather(1, self.target[:, None])
            return torch.autograd.grad(score, x, score.detach())[0]

    def _captum(self) -> dict[str, Call]:
        x, target, workload = self.x, self.target, self.workload
        if workload.method == "saliency":
            return {"Captum": lambda: captum.Saliency(self.model).attribute(x, target=target, abs=False)}
        if workload.method == "smooth_grad":
            tunnel = captum.NoiseTunnel(captum.Saliency(self.model))
            spread = dict(target=target, abs=False, nt_samples=workload.points, stdevs=0.3)
            return {
                "Captum": lambda: tunnel.attribute(x, **spread),
                "Captum, nt_samples_batch_size=4": lambda: tunnel.attribute(x, nt_samples_batch_size=4, **spread),
            }
        path = captum.IntegratedGradients(self.model)
        if workload.layer:
            path = captum.LayerIntegratedGradients(self.model, self.model.get_submodule(workload.layer))
        steps = dict(target=target, n_steps=workload.points)
        return {
            "Captum": lambda: path.attribute(x, **steps),
            "Captum, internal_batch_size=16": lambda: path.attribute(x, internal_batch_size=16, **steps),
        }

    def executions(self, call: Call) -> None:
        """Nothing is compiled in eager PyTorch."""
        return None

    def _gradient(self, points: Tensor, target: Tensor) -> Tensor:
        points = points.detach().requires_grad_()
        return torch.autograd.grad(self.forward(points).gather(1, target[:, None]).sum(), points)[0]

    def _saliency(self) -> Tensor:
        return self._gradient(self.values, self.target)

    def _path(self, points: int) -> Tensor:
        x, steps = self.values, self.workload.points
        total = torch.zeros_like(x)
        for alpha in ((torch.arange(steps) + 0.5) / steps).split(points):
            rows = _rows(alpha.view(-1, *[1] * x.ndim) * x)
            total += self._gradient(rows, self.target.repeat(len(alpha))).unflatten(0, (len(alpha), -1)).sum(0)
        return x * total / steps

    def _noisy(self, points: int) -> Tensor:
        x, samples = self.values, self.workload.points
        scale = 0.1 * (x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True))
        total = torch.zeros_like(x)
        for draws in torch.arange(samples).split(points):
            k = len(draws)
            rows = _rows(x + scale * torch.randn(k, *x.shape))
            total += self._gradient(rows, self.target.repeat(k)).unflatten(0, (k, -1)).sum(0)
        return total / samples


def _rows(points: Tensor) -> Tensor:
    rows = points.flatten(0, 1)
    return rows.contiguous(memory_format=torch.channels_last) if rows.ndim == 4 else rows


def _zoo(workload: Workload) -> tuple[nn.Module, Tensor]:
    model = build(workload.network, **workload.options)
    return model, torch.from_numpy(inputs(workload.network, workload.batch, **workload.options))


def _mlp(workload: Workload) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    layers = nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)
    return nn.Sequential(*layers).eval(), torch.randn(workload.batch, 30)


def _by_hand(model: nn.Module, workload: Workload) -> Callable[[Tensor], Tensor]:
    """A frozen copy with weights in the same memory format as the images; for text, what follows the embedding."""
    frozen = deepcopy(model).requires_grad_(False)
    if workload.network == "text":
        return lambda embedded: frozen.head(frozen.relu(frozen.conv1(embedded.transpose(1, 2))).amax(-1))
    return frozen.to(memory_format=torch.channels_last)
