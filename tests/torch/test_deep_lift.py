"""DeepLIFT on PyTorch: against Captum and SHAP where they are right, every spelling, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import whence
from tests import oracle_models
from tests.method_oracles import TARGETS
from tests.torch.test_oracles import convnet
from whence.errors import CoverageError


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
