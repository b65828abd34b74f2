"""What an NNX module is now is seen, whatever was changed on it since the last look."""

import gc
import weakref
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array

import whence
from whence.backends.jax.nnx_state import split

pytestmark = pytest.mark.skipif(not hasattr(nnx, "Pytree"), reason="split each time before Flax 0.11")


class Net(nnx.Module):
    """Attributes of all sorts that NNX knows."""

    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.first, self.norm = nnx.Linear(3, 4, rngs=rngs), nnx.BatchNorm(4, use_running_average=True, rngs=rngs)
        self.last = nnx.List([nnx.Linear(4, 4, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)])
        self.scale, self.power, self.activation = 1.5, (1, 2), nnx.relu

    def __call__(self, x: Array) -> Array:
        h = self.activation(self.norm(self.first(x)))
        for layer in self.last:
            h = layer(h) ** self.power[0] * self.scale
        return h


def _set(net: Net, **attributes: object) -> None:
    for name, value in attributes.items():
        setattr(net, name, value)


CHANGES: dict[str, Callable[[Net], None]] = {
    "nothing": lambda net: None,
    "values": lambda net: net.first.kernel.set_value(net.first.kernel.get_value() * 2),
    "statistics": lambda net: net.norm.mean.set_value(net.norm.mean.get_value() + 0.5),
    "a parameter": lambda net: _set(net.first, kernel=nnx.Param(jnp.ones((3, 4)))),
    "a layer": lambda net: _set(net, first=nnx.Linear(3, 4, rngs=nnx.Rngs(7))),
    "a layer in a list": lambda net: net.last.__setitem__(0, nnx.Linear(4, 4, rngs=nnx.Rngs(7))),
    "one layer more": lambda net: net.last.insert(0, nnx.Linear(4, 4, rngs=nnx.Rngs(7))),
    "a number": lambda net: _set(net, scale=0.5),
    "a tuple": lambda net: _set(net, power=(2, 1)),
    "a function": lambda net: _set(net, activation=nnx.tanh),
    "a mode": lambda net: _set(net.norm, epsilon=0.1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen(change: str) -> None:
    net, x = Net(), np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    before = whence.explain(net, x, "saliency", 0)
    for _ in range(2):
        CHANGES[change](net)
        found = whence.explain(net, x, "saliency", 0)
        wanted = whence.explain(nnx.clone(net), x, "saliency", 0)
        assert np.array_equal(found.attributions, wanted.attributions)
        np.testing.assert_allclose(found.score, net(jnp.asarray(x))[:, 0], rtol=1e-5)
        assert np.array_equal(found.attributions, before.attributions) == (change == "nothing")


def test_values_are_read_without_a_second_split() -> None:
    net = Net()
    (static, arrays), found = split(net, lambda static: static)
    assert found is not None
    again = found.state()
    assert again is not None and again[0] is static
    assert all(a is b for a, b in zip(arrays, again[1], strict=True))
    net.scale = 2.5
    assert found.state() is None


def test_what_may_change_unseen_is_split_each_time() -> None:
    net = Net()
    net.power = (1, {"mutable": 2})
    assert split(net, lambda static: static)[1] is None


def test_a_module_is_let_go() -> None:
    net = Net()
    whence.explain(net, np.ones((1, 3), np.float32), "saliency", 0)
    gone = weakref.ref(net)
    del net
    gc.collect()
    assert gone() is None
