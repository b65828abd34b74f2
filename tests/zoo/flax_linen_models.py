"""`digits_cnn` as a Flax Linen module, channels last."""

from typing import Any

from flax import linen as nn
from jax import Array

from .jax_arrays import to_jax
from .sizes import size_of
from .weights import channels_last


class DigitsCnn(nn.Module):
    """Two convolutions and two dense layers."""

    classes: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = nn.relu(nn.Conv(16, (3, 3), name="conv1")(x))
        x = nn.relu(nn.Conv(32, (3, 3), name="conv2")(x))
        x = nn.max_pool(x, (2, 2), (2, 2))
        x = nn.relu(nn.Dense(64, name="dense")(x.reshape(x.shape[0], -1)))
        return nn.Dense(self.classes, name="head")(x)


def build(name: str, dtype: str = "float32", seed: int = 0) -> tuple[nn.Module, dict[str, Any]]:
    """The module and its variables, for `module.apply(variables, x)`."""
    if name != "digits_cnn":
        raise ValueError(f"no Linen module of {name!r}")
    size = size_of(name)
    layers = channels_last(size, seed)
    parameters = {
        layer: {"kernel": to_jax(kernel, dtype), "bias": to_jax(bias, dtype)}
        for layer, (kernel, bias) in layers.items()
    }
    return DigitsCnn(size.classes), {"params": parameters}
