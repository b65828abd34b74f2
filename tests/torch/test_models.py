"""PyTorch models as users have them: run, layers, and nothing left behind."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

import whence
from whence.core.model import _stores
from whence.errors import DTypeError, LayerError, ShapeError, TrainingModeWarning


class Net(nn.Module):
    """Two convolutions, one relu used twice, a nested head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.relu = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.ReLU(inplace=True)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.relu(self.conv2(self.relu(self.conv1(x)))))


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max()).item()


def by_hand(f, x: torch.Tensor, target: int) -> torch.Tensor:
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(f(x)[:, target].sum(), x)[0]


def test_run_taps_and_edits(net: Net, x: torch.Tensor) -> None:
    model = whence.wrap(net)
    output, tapped = model.run(x, taps=["conv1", "head.1"])
    assert torch.equal(output, net(x)) and torch.equal(tapped["head.1"], output)
    assert relative(tapped["conv1"], net.conv1(x)) < 1e-6, "the relu in place afterwards must not show"
    zeroed, _ = model.run(x, edits={"conv1": torch.zeros_like})
    assert torch.allclose(zeroed, net.head(net.relu(net.conv2(torch.zeros(3, 4, 6, 6)))))


def test_layers_of_a_reused_module_are_numbered(net: Net, x: torch.Tensor) -> None:
    model = whence.wrap(net)
    _, tapped = model.run(x, taps=["relu:0", "relu:1"])
    assert tapped["relu:0"].shape[-1] == 6 and tapped["relu:1"].shape[-1] == 4
    with pytest.raises(LayerError, match="relu:0, relu:1"):
        model.run(x, taps=["relu"])
    with pytest.raises(LayerError, match="relu:0 to relu:1"):
        model.run(x, taps=["relu:2"])
    with pytest.raises(LayerError, match="nearest names: conv1"):
        model.run(x, taps=["con1"])


@pytest.mark.parametrize("wrapper", ["traced", "scripted", "function", "lambda"])
def test_model_styles(net: Net, x: torch.Tensor, wrapper: str) -> None:
    styles = {
        "traced": lambda: torch.jit.trace(net, x, check_trace=False),
        "scripted": lambda: torch.jit.script(net),
        "function": lambda: net.forward,
        "lambda": lambda: lambda x: net(x),
    }
    found = whence.Saliency().explain(styles[wrapper](), x, 2).attributions
    assert relative(found, by_hand(net, x, 2)) < 1e-6
    if wrapper in ("traced", "scripted"):
        with pytest.raises(LayerError, match="scripted"):
            whence.Saliency(layer="conv1").explain(styles[wrapper](), x, 2)


def test_compiled_model_passes_through(net: Net, x: torch.Tensor) -> None:
    calls: list[int] = []

    def backend(graph: torch.fx.GraphModule, _inputs: object) -> object:
        calls.append(1)
        return graph.forward

    compiled = torch.compile(net, backend=backend)
    assert relative(whence.Saliency().explain(compiled, x, 2).attributions, by_hand(net, x, 2)) < 1e-6
    first = len(calls)
    whence.Saliency().explain(compiled, x, 2)
    assert first > 0 and len(calls) == first, "a second call compiles nothing"
    layer = whence.Saliency(layer="conv1").explain(compiled, x, 2)
    assert layer.attributions.shape == (3, 4, 6, 6)


def test_structured_outputs(net: Net, x: torch.Tensor) -> None:
    @dataclass
    class Output:
        logits: torch.Tensor

    class Structured(nn.Module):
        def __init__(self, make) -> None:
            super().__init__()
            self.net, self.make = net, make

        def forward(self, x: torch.Tensor) -> object:
            return self.make(self.net(x))

    wanted = by_hand(net, x, 1)
    for make, output in [
        (lambda y: {"logits": y, "aux": y}, "logits"),
        (lambda y: (y * 0, y), 1),
        (Output, "logits"),
        (lambda y: {"a": {"b": y}}, lambda out: out["a"]["b"]),
    ]:
        model = Structured(make)
        with pytest.raises(ShapeError, match=r"whence\.wrap"):
            whence.Saliency().explain(model, x, 1)
        found = whence.Saliency().explain(whence.wrap(model, output=output), x, 1)
        assert relative(found.attributions, wanted) < 1e-6


def test_several_inputs_by_position_and_name() -> None:
    class Two(nn.Module):
        def forward(self, a: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
            return torch.stack([(a * ids).sum(1), (a**2).sum(1)], 1)

    a, ids = torch.randn(4, 6), torch.arange(24).reshape(4, 6)
    for inputs in [(a, ids), [a, ids], {"a": a, "ids": ids}]:
        found = whence.IntegratedGradients().explain(Two(), inputs, 0).check(1e-5)
        first, second = found.attributions.values() if isinstance(inputs, dict) else found.attributions
        assert type(found.attributions) is type(inputs) and second is None
        assert torch.allclose(first, a * ids, atol=1e-4)


def test_embedding_layer() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(20, 6), nn.Flatten(), nn.Linear(30, 3)).eval()
    ids = torch.randint(0, 20, (4, 5))
    with pytest.raises(DTypeError, match="embedding layer"):
        whence.Saliency().explain(model, ids)
    found = whence.IntegratedGradients(layer="0").explain(model, ids, 1).check(1e-4)
    wanted = (model[0](ids) - model[0](ids * 0)) * model[2].weight[1].reshape(5, 6)
    assert relative(found.attributions, wanted) < 1e-5


def test_training_mode_is_put_back(x: torch.Tensor) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(144, 5))
    model[1].eval()
    before = [m.training for m in model.modules()]
    statistics = model[1].running_mean.clone()
    with pytest.warns(TrainingModeWarning):
        found = whence.Saliency().explain(model, x, 0)
    assert [m.training for m in model.modules()] == before and torch.equal(model[1].running_mean, statistics)
    assert relative(found.attributions, by_hand(model.eval(), x, 0)) < 1e-6


def test_under_inference_mode_and_no_grad(net: Net, x: torch.Tensor) -> None:
    wanted = by_hand(net, x, 2)
    for mode in (torch.inference_mode, torch.no_grad):
        with mode():
            inside = x.clone()
            assert relative(whence.Saliency().explain(net, inside, 2).attributions, wanted) < 1e-6


def test_the_cache_does_not_keep_a_model_alive(x: torch.Tensor) -> None:
    model = Net().eval()
    whence.Saliency().explain(model, x, 2)
    key, gone = id(model), weakref.ref(model)
    assert key in _stores
    del model
    gc.collect()
    assert gone() is None and key not in _stores


def test_numpy_in_numpy_out(net: Net, x: torch.Tensor) -> None:
    found = whence.IntegratedGradients().explain(net, x.numpy(), 2)
    assert all(isinstance(v, np.ndarray) for v in (found.attributions, found.score, found.delta))
    assert np.array_equal(found.attributions, whence.IntegratedGradients().explain(net, x, 2).attributions.numpy())


def test_preprocessing_is_part_of_the_derivative(net: Net, x: torch.Tensor) -> None:
    model = whence.wrap(net, preprocess=lambda x: (x - 0.5) / 0.25)
    wanted = by_hand(net, (x - 0.5) / 0.25, 2) / 0.25
    assert relative(whence.Saliency().explain(model, x, 2).attributions, wanted) < 1e-6


def test_a_baseline_per_sample_follows_its_sample_through_a_noise_tunnel(net: Net, x: torch.Tensor) -> None:
    baseline = 0.5 * x.flip(0)
    tunnel = whence.NoiseTunnel(inner=whence.IntegratedGradients(n_steps=3, baseline=baseline), n_samples=1, stdev=0.0)
    plain = whence.IntegratedGradients(n_steps=3, baseline=baseline).explain(net, x, 2)
    assert relative(tunnel.explain(net, x, 2).attributions, plain.attributions) < 1e-6
    several = whence.NoiseTunnel(inner=tunnel.inner, n_samples=4, stdev=0.0)
    assert relative(several.explain(net, x, 2, batch_size=5).attributions, plain.attributions) < 1e-6
