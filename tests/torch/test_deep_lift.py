"""DeepLIFT on PyTorch: against Captum and SHAP where they are right, every spelling, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import whence
from tests import oracle_models, oracles
from tests.method_oracles import TARGETS
from tests.torch.test_oracles import convnet
from whence.errors import CoverageError, ParameterError


def images(seed: int = 0) -> Tensor:
    return torch.randn(4, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


class Net(nn.Module):
    """conv, act, conv, act, linear."""

    def __init__(self, act: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv1, self.conv2, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 5, 3), nn.Linear(80, 4)
        self.act = act
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.conv2(self.act(self.conv1(x)))).flatten(1))


def test_captum_without_pools() -> None:
    attr = pytest.importorskip("captum.attr")
    model, x = convnet(oracle_models.convnet()), torch.from_numpy(oracle_models.images())
    base, target = 0.3 * x.flip(0), torch.tensor(TARGETS)
    found = whence.DeepLIFT(baseline=base).explain(model, x, target)
    assert apart(found.attributions, attr.DeepLift(model).attribute(x, base, target)) < 1e-12
    several = whence.DeepLIFTSHAP(baseline=base[:3]).explain(model, x, target)
    assert apart(several.attributions, attr.DeepLiftShap(model).attribute(x, base[:3], target)) < 1e-12


@pytest.mark.filterwarnings("ignore")
def test_shap_with_a_pool() -> None:
    shap = pytest.importorskip("shap")
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, 4, 2), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(),
        nn.Linear(4, 3),
    ).eval()  # fmt: skip
    x, base = images().float(), images(7).float()
    theirs = shap.DeepExplainer(model, base).shap_values(x)[..., 1]
    found = whence.DeepLIFTSHAP(baseline=base).explain(model, x, 1)
    assert apart(found.attributions, torch.from_numpy(np.asarray(theirs))) < 1e-5


SPELLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "functional": F.relu, "method": lambda x: x.relu(), "in place": lambda x: x.relu_(), "reused": nn.ReLU(),
    "reused in place": nn.ReLU(inplace=True), "clamp": lambda x: x.clamp(min=0),
}  # fmt: skip


def test_every_spelling_is_the_same_bit_for_bit() -> None:
    x, method = images(), whence.DeepLIFT(baseline=images(5))
    wanted = method.explain(Net(torch.relu), x, 2)
    assert (wanted.delta.abs() <= 1e-8 * (wanted.score - wanted.baseline_score).abs()).all()
    for name, act in SPELLINGS.items():
        found = method.explain(Net(act), x, 2)
        assert torch.equal(found.attributions, wanted.attributions), name
        assert sum(found.provenance.coverage["ruled"].values()) == 2


def test_written_out_or_not() -> None:
    x, method = images(), whence.DeepLIFT(baseline=images(5))
    pairs: list[tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = [
        (F.silu, lambda x: x * torch.sigmoid(x)),
        (F.gelu, lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5))),
        (lambda x: F.leaky_relu(x, 0.1), lambda x: torch.where(x > 0, x, 0.1 * x)),
        (F.relu, lambda x: x * (x > 0)),
    ]
    for built_in, by_hand in pairs:
        a, b = (method.explain(Net(act), x, 2) for act in (built_in, by_hand))
        assert apart(b.attributions, a.attributions) < 1e-10
        assert sum(b.provenance.coverage["ruled"].values()) >= 2 and not b.provenance.coverage["fallback"]


def test_a_sample_is_explained_alike_in_any_batch() -> None:
    x, base, net = images(), images(5), Net(F.gelu)
    whole = whence.DeepLIFT(baseline=base).explain(net, x, 2).attributions
    for i in range(len(x)):
        alone = whence.DeepLIFT(baseline=base[i : i + 1]).explain(net, x[i : i + 1], 2).attributions
        assert apart(alone, whole[i : i + 1]) < 1e-13


def test_at_a_layer_and_of_a_neuron() -> None:
    x, base, net = images(), images(5), Net(torch.tanh)
    at_layer = whence.DeepLIFT(layer="conv1", baseline=base).explain(net, x, 2)
    h, h0 = net.conv1(x), net.conv1(base)
    rest = whence.DeepLIFT(baseline=h0.detach()).explain(
        lambda h: net.head(torch.tanh(net.conv2(torch.tanh(h))).flatten(1)), h.detach(), 2
    )
    assert apart(at_layer.attributions, rest.attributions) < 1e-13
    neuron = whence.DeepLIFT(neuron=("conv2", (3, 1, 2)), baseline=base).explain(net, x)
    change = net.conv2(torch.tanh(h))[:, 3, 1, 2] - net.conv2(torch.tanh(h0))[:, 3, 1, 2]
    assert apart(neuron.attributions.sum((1, 2, 3)), change.detach()) < 1e-12


def as_matrix(layer: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """An affine layer as x w + b on flat x, its columns found one by one."""
    bias = layer(torch.zeros(1, *shape, dtype=torch.float64)).detach()
    units = torch.eye(int(np.prod(shape)), dtype=torch.float64).reshape(-1, *shape)
    return (layer(units) - bias).detach().flatten(1).numpy(), bias.flatten().numpy()


@pytest.mark.parametrize("act", [F.relu, torch.tanh])
def test_reveal_cancel_of_convolutions(act: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(3)
    conv1, conv2, head = nn.Conv2d(2, 3, 3, bias=False), nn.Conv2d(3, 2, 2, stride=2), nn.Linear(8, 3)
    norm = nn.BatchNorm2d(3)
    norm.running_mean.normal_()
    nn.init.normal_(norm.weight)  # of either sign, which exchanges the parts
    net = nn.Sequential(conv1, norm, nn.Identity(), conv2, nn.Identity(), nn.Flatten(), head).double().eval()
    layers = [as_matrix(nn.Sequential(conv1, norm), (2, 6, 6)), as_matrix(conv2, (3, 4, 4)), as_matrix(head, (8,))]
    x, base = torch.randn(3, 2, 6, 6).double(), torch.randn(3, 2, 6, 6).double()
    base[:, 0] = x[:, 0]  # what has not changed

    def forward(x: Tensor) -> Tensor:
        return head(act(conv2(act(norm(conv1(x))))).flatten(1))

    def activate(z: np.ndarray) -> np.ndarray:
        return act(torch.from_numpy(np.asarray(z))).numpy()

    net.forward = forward  # type: ignore[method-assign]
    found = whence.DeepLIFT(baseline=base, rule="reveal_cancel").explain(net, x, 1)
    flat, flat0 = x.flatten(1).numpy(), base.flatten(1).numpy()
    wanted = [oracles.reveal_cancel(layers, activate, a, a0, 1) for a, a0 in zip(flat, flat0, strict=True)]
    assert apart(found.attributions.flatten(1), torch.from_numpy(np.stack(wanted))) < 1e-12
    assert (found.delta.abs() <= 1e-8 * (found.score - found.baseline_score).abs()).all()
    for i in range(len(x)):
        alone = whence.DeepLIFT(baseline=base[i : i + 1], rule="reveal_cancel").explain(net, x[i : i + 1], 1)
        assert apart(alone.attributions, found.attributions[i : i + 1]) < 1e-13


def test_reveal_cancel_behind_a_normalisation_in_place() -> None:
    torch.manual_seed(3)
    conv, head = nn.Conv2d(2, 3, 3).double(), nn.Linear(48, 3).double()
    mean, deviation, scale, offset = torch.randn(4, 1, 3, 1, 1, dtype=torch.float64)
    x, base = torch.randn(3, 2, 6, 6).double(), torch.randn(3, 2, 6, 6).double()

    def methods(z: Tensor) -> Tensor:
        return z.subtract(mean).div_(deviation).mul_(scale).add_(offset)

    def on_the_product(z: Tensor) -> Tensor:
        return z.sub_(mean).true_divide_(deviation).multiply_(scale).add_(offset)

    def operators(z: Tensor) -> Tensor:
        z -= mean
        z /= deviation
        z *= scale
        z += offset
        return z

    def explained(norm: Callable[[Tensor], Tensor], act: Callable[[Tensor], Tensor]) -> whence.Explanation:
        method = whence.DeepLIFT(baseline=base, rule="reveal_cancel")
        return method.explain(whence.wrap(lambda x: head(act(norm(conv(x))).flatten(1)), framework="torch"), x, 1)

    for act in (F.relu, torch.relu_, F.silu):
        wanted = explained(lambda z: (z - mean) / deviation * scale + offset, act)
        for norm in (methods, on_the_product, operators):
            found = explained(norm, act)
            assert apart(found.attributions, wanted.attributions) < 1e-12
            assert list(found.provenance.coverage["ruled"]) == list(wanted.provenance.coverage["ruled"])


class Minimum(nn.Module):
    """a - relu(a - b), the smaller of two inputs."""

    def __init__(self, act: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.difference, self.act = nn.Linear(2, 1, bias=False).double(), act
        self.difference.weight.data = torch.tensor([[1.0, -1.0]], dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :1] - self.act(self.difference(x))


@pytest.mark.parametrize("act", [*SPELLINGS.values(), lambda x: x * (x > 0)], ids=[*SPELLINGS, "written out"])
def test_a_minimum_is_shared_by_reveal_cancel_alone(act: Callable[[Tensor], Tensor]) -> None:
    x = torch.tensor([[3.0, 1.0], [1.0, 5.0], [2.0, 2.0]], dtype=torch.float64)
    shared = whence.DeepLIFT(rule="reveal_cancel").explain(Minimum(act), x, 0).attributions
    assert torch.allclose(shared, torch.tensor([[0.5, 0.5], [0.5, 0.5], [1.0, 1.0]]).double(), rtol=0, atol=1e-14)
    one_takes_all = whence.DeepLIFT().explain(Minimum(act), x[:2], 0).attributions
    assert torch.allclose(one_takes_all, torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double(), rtol=0, atol=1e-14)


def test_reveal_cancel_where_parts_cancel_and_after_no_affine_operation() -> None:
    # the hidden relu(1 + a - b) does not change, its parts do, and have the mean of the multipliers above
    first = (np.array([[1.0, 0.5, 0.2], [-1.0, 0.25, 0.3]]), np.array([1.0, 0.0, 0.0]))
    layers = [first, (np.array([[1.0], [-1.0], [0.8]]), np.array([-0.5])), (np.array([[1.0]]), np.zeros(1))]
    w1, w2 = torch.from_numpy(first[0]), torch.from_numpy(layers[1][0])
    x = torch.ones(1, 2, dtype=torch.float64)

    def relu(z: np.ndarray) -> np.ndarray:
        return np.maximum(z, 0)

    found = whence.DeepLIFT(rule="reveal_cancel").explain(
        lambda x: F.relu(F.relu(x @ w1 + torch.tensor([1.0, 0.0, 0.0]).double()) @ w2 - 0.5), x, 0
    )
    wanted = oracles.reveal_cancel(layers, relu, np.ones(2), np.zeros(2), 0)
    assert np.abs(wanted).min() > 0.1 and np.abs(found.attributions.numpy()[0] - wanted).max() < 1e-14
    assert found.provenance.coverage["ruled"] == {"torch.Tensor.matmul, torch.relu": 2}
    added = whence.DeepLIFT(rule="reveal_cancel").explain(lambda x: F.relu(x @ w1 + torch.tanh(x[:, :1])) @ w2, x, 0)
    assert added.provenance.coverage["ruled"] == {"torch.relu": 1, "torch.tanh": 1}
    with pytest.raises(ParameterError, match="rule"):
        whence.DeepLIFT(rule="reveal")


def test_strict_refuses_what_has_no_rule() -> None:
    net = Net(lambda x: torch.cumprod(x, 1))
    found = whence.DeepLIFT().explain(net, images(), 1)
    assert found.provenance.coverage["fallback"] == {"torch.cumprod": 2}
    assert (found.delta.abs() <= 1e-8 * (found.score - found.baseline_score).abs()).all()
    with pytest.raises(CoverageError, match=r"strict=True.*cumprod"):
        whence.DeepLIFT(strict=True).explain(net, images(), 1)
    whence.DeepLIFT(strict=True).explain(Net(F.gelu), images(), 1)


def test_what_cannot_be_followed_raises() -> None:
    def scripted(x: Tensor) -> Tensor:
        return torch.jit.script(nn.Tanh())(x)

    with pytest.raises(CoverageError, match="escaped: TanhBackward"):
        whence.DeepLIFT().explain(Net(scripted), images(), 1)

    def by_value(x: Tensor) -> Tensor:
        return torch.tanh(x) if x.std() > 0.3 else torch.exp(x)

    with pytest.raises(CoverageError, match=r"another way.*(exp|tanh)"):
        whence.DeepLIFT(baseline=1e-3).explain(Net(by_value), images(), 1)

    def overwrites(x: Tensor) -> Tensor:
        y = torch.tanh(x)
        x += 1
        return y + x

    with pytest.raises(CoverageError, match="written on in place"):
        whence.DeepLIFT().explain(Net(overwrites), images(), 1)


def test_written_on_outputs_keep_their_values() -> None:
    def shifted(x: Tensor) -> Tensor:
        y = torch.tanh(x)
        y += 0.5
        return y * y

    found = whence.DeepLIFT(baseline=images(5)).explain(Net(shifted), images(), 1)
    assert (found.delta.abs() <= 1e-8 * (found.score - found.baseline_score).abs()).all()


def test_the_model_is_left_as_it_was() -> None:
    net, x = Net(F.relu), images()
    before = whence.Saliency().explain(net, x, 1).attributions
    whence.DeepLIFT().explain(net, x, 1)
    with pytest.raises(CoverageError):
        whence.DeepLIFT(strict=True).explain(Net(lambda x: torch.sort(x, 1).values), x, 1)
    assert torch.equal(whence.Saliency().explain(net, x, 1).attributions, before)
    assert all(p.requires_grad and p.grad is None for p in net.parameters()) and not net._forward_hooks
