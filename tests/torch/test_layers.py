"""What docs/guide/layers.md says about PyTorch: names, points of a layer, and the errors where there is no access."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import whence
from whence.errors import LayerError


class Add(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


class Net(nn.Module):
    """Nested sequentials, a layer called twice, one of two inputs, one that gives a tuple, one that is not called."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.ReLU(), nn.Linear(4, 4)))
        self.twice, self.add, self.gru, self.unused = nn.Linear(4, 4), Add(), nn.GRU(4, 4), nn.Linear(4, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x)
        h = self.add(torch.relu(self.twice(h)), self.twice(h.tanh()))
        return self.head(self.gru(h[None])[0][0])


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


X = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))


def by_hand(net: Net) -> dict[str, Tensor]:
    h = net.body(X)
    twice = net.twice(h), net.twice(h.tanh())
    joined = torch.relu(twice[0]) + twice[1]
    return {
        "body": h, "body.0": net.body[0](X), "body.1.0": net.body[0](X).relu(), "body.1.1:in": net.body[0](X).relu(),
        "body:in": X, "twice:0": twice[0], "twice:1": twice[1], "twice:in:0": h, "twice:in:1": h.tanh(), "add": joined,
        "gru:in": joined[None], "gru": net.gru(joined[None])[0], "head:in": net.gru(joined[None])[0][0],
    }  # fmt: skip


@pytest.mark.parametrize("compiled", ["not", "wrapped", "in place"])
def test_activations_are_those_by_hand(net: Net, compiled: str) -> None:
    wanted = by_hand(net)
    # by name alone: the compiler itself is left out
    model = torch.compile(net, backend="eager") if compiled == "wrapped" else net
    if compiled == "in place":
        net.compile(backend="eager")
    found = whence.Activations(layers=list(wanted)).explain(model, X).attributions
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        assert found[name].shape == value.shape, name
        torch.testing.assert_close(found[name], value, msg=name)


def test_gradients_towards_inputs_of_layers(net: Net) -> None:
    h = net.body(X).detach().requires_grad_()

    def rest(second: Tensor) -> Tensor:
        joined = net.add(torch.relu(net.twice(h)), net.twice(second))
        return net.head(net.gru(joined[None])[0][0])[:, 1].sum()

    given = h.tanh().detach().requires_grad_()
    (wanted,) = torch.autograd.grad(rest(given), given)
    torch.testing.assert_close(whence.Saliency(layer="twice:in:1").explain(net, X, 1).attributions, wanted)
    neuron = whence.Saliency(neuron=("body.1.1:in", 2)).explain(net, X).attributions
    torch.testing.assert_close(neuron, (net.body[0](X)[:, 2:3] > 0) * net.body[0].weight[2])


def test_units_and_channels(net: Net) -> None:
    wanted = by_hand(net)
    units = {"body": [3, 0], "head": (1,), "gru": 2}
    found = whence.Activations(layers=units).explain(net, X).attributions
    torch.testing.assert_close(found["body"], wanted["body"][:, [3, 0]])
    torch.testing.assert_close(found["head"], net(X)[:, 1])
    for bad in ({"body": 4}, {"head": (0, 0)}, {"head": (2,)}):
        with pytest.raises(LayerError, match="below"):
            whence.Activations(layers=bad).explain(net, X)


class Checkpointed(nn.Module):
    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.a, self.b, self.reentrant = nn.Linear(3, 4), nn.Linear(4, 2), reentrant

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(lambda x: self.b(self.a(x).tanh()), x, use_reentrant=self.reentrant)


class WithoutGraph(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            h = self.a(x)
        return self.b(h)


def partly_scripted() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), torch.jit.script(nn.Sequential(nn.ReLU(), nn.Linear(4, 2)))).eval()


def partly_compiled(in_place: bool = False) -> nn.Module:
    part = nn.Sequential(nn.ReLU(), nn.Linear(4, 2))
    if in_place:
        part.compile(backend="eager")
    return nn.Sequential(nn.Linear(3, 4), part if in_place else torch.compile(part, backend="eager")).eval()


NOT_CALLED, NO_NAMES = "never calls it from Python", "no layers that can be named"
UNREACHED: dict[str, tuple[Callable[[], object], str, str]] = {
    "a scripted module": (lambda: torch.jit.script(Net()), "head", "scripted module.*before torch.jit"),
    "a traced module": (lambda: torch.jit.trace(Net().eval(), X), "head", "scripted module.*before torch.jit"),
    "a scripted part": (partly_scripted, "1", NOT_CALLED),
    "inside a scripted part": (partly_scripted, "1.1", NOT_CALLED),
    "inside a compiled part": (partly_compiled, "1._orig_mod.1", NOT_CALLED),
    "inside a part compiled in place": (lambda: partly_compiled(in_place=True), "1.1", NOT_CALLED),
    "a function": (lambda: Net().eval().forward, "head", NO_NAMES),
    "a compiled function": (lambda: torch.compile(Net().eval().forward, backend="eager"), "head", NO_NAMES),
    "a layer that is not called": (Net, "unused", NOT_CALLED),
    "several inputs": (Net, "add:in", "takes several tensors.*single input"),
    "no activation of its own": (Net, "head:pre", "activation of its own.*'head', its output"),
    "no such layer": (Net, "heat", "nearest names: head"),
}


@pytest.mark.parametrize("case", UNREACHED)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_errors_where_there_is_no_access(case: str) -> None:
    make, name, message = UNREACHED[case]
    model = make()
    for method in (whence.Activations(layers=name), whence.Saliency(layer=name)):
        with pytest.raises(LayerError, match=message):
            method.explain(model, X, **({} if isinstance(method, whence.Activations) else {"target": 1}))


def test_a_compiled_part_is_a_layer_itself() -> None:
    model = partly_compiled()
    found = whence.Activations(layers="1").explain(model, X).attributions["1"]
    torch.testing.assert_close(found, model[1](model[0](X)))


def test_a_scripted_part_leaves_the_other_layers() -> None:
    model = partly_scripted()
    found = whence.Activations(layers="0").explain(model, X).attributions["0"]
    torch.testing.assert_close(found, model[0](X))
    net = nn.Sequential(nn.Conv2d(1, 2, 2), torch.jit.script(nn.ReLU()), nn.Flatten(), nn.Linear(8, 2)).eval()
    assert whence.EigenCAM().explain(net, torch.rand(1, 1, 3, 3)).provenance.notes["layers"] == ("0",)


@pytest.mark.parametrize(("model", "message"), [
    (Checkpointed(False), "torch.utils.checkpoint.*switched off"),
    (Checkpointed(True), "torch.no_grad"),
    (WithoutGraph(), "torch.no_grad"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_gradients_that_would_be_lost(model: nn.Module, message: str) -> None:
    for method in (whence.Saliency(layer="a"), whence.Saliency(layer="a:in"), whence.InternalInfluence(layer="a")):
        with pytest.raises(LayerError, match=message):
            method.explain(model.eval(), X, 1)
    found = whence.Activations(layers="a").explain(model, X).attributions["a"]
    torch.testing.assert_close(found, model.a(X))


class InADict(nn.Module):
    """A layer that gives no tensor."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"x": x}


@pytest.mark.parametrize("method", [
    whence.Activations(layers="inner"), whence.Saliency(layer="inner"), whence.GradCAM(layer="inner"),
    whence.EigenCAM(layer="inner"), whence.LayerConductance(layer="inner"),
], ids=lambda method: method.name)  # fmt: skip
def test_a_layer_that_gives_no_tensor(method: whence.Method) -> None:
    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = InADict()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)["x"].mean((2, 3))

    target = None if method.name == "activations" else 0
    with pytest.raises(LayerError, match=r"'inner'.*type dict.*whose output is a tensor"):
        method.explain(Around(), torch.rand(2, 3, 4, 4), target)
