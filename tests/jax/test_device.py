"""JAX on an accelerator."""

from __future__ import annotations

from typing import Any

import jax
import pytest

import whence
from tests.device import check_stays
from tests.zoo.inputs import inputs, to_channels_last

pytestmark = [
    pytest.mark.device,
    pytest.mark.skipif(jax.default_backend() == "cpu", reason="JAX sees no accelerator"),
]


@pytest.mark.parametrize("method", whence.methods())
def test_everything_stays_on_the_device(method: str) -> None:
    from tests.zoo import plain_jax

    fn, params = plain_jax.build("digits_cnn")
    x = to_channels_last(inputs("digits_cnn", 3))
    on_cpu, on_device = (jax.device_put(x, jax.devices(kind)[0]) for kind in ("cpu", jax.default_backend()))

    def model(x: jax.Array) -> Any:
        return whence.wrap(fn, variables=jax.device_put(params, x.device), framework="jax", layout="NHWC")

    check_stays(method, model, on_cpu, on_device, lambda value: value.device == on_device.device)
