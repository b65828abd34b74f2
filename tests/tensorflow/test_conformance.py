"""The TensorFlow backend and the methods on it against the shipped kit."""

from __future__ import annotations

import pytest
import tensorflow as tf

from tests.conformance import FEW, SOME, SOME_LAYERED, all_checks, layer_checks
from whence.backends.tensorflow import backend
from whence.testing import Check, backend_checks


@pytest.mark.parametrize("check", [*backend_checks(backend)], ids=str)
def test_backend(check: Check) -> None:
    check()


SINGLE = [*all_checks("tensorflow", SOME, ("float32",)), *layer_checks("tensorflow", SOME_LAYERED, ("float32",))]


@pytest.mark.parametrize("check", SINGLE, ids=str)
def test_methods(check: Check) -> None:
    check()


@pytest.mark.parametrize("check", all_checks("tensorflow", FEW, ("float64",)), ids=str)
def test_methods_in_float64(check: Check) -> None:
    check()


@pytest.mark.device
@pytest.mark.skipif(not tf.config.list_physical_devices("GPU"), reason="no GPU for tensorflow")
@pytest.mark.parametrize("check", [*backend_checks(backend)], ids=str)
def test_backend_on_the_device(check: Check) -> None:
    assert "GPU" in tf.constant(1.0).device
    check()
