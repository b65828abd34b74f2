"""The JAX backend and the methods on it against the shipped kit, with float64 switched on for these tests alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from importlib import import_module

import jax
import jax.numpy as jnp
import pytest

from tests.conformance import FEW, SOME, SOME_LAYERED, all_checks, layer_checks
from whence.backends.jax import backend
from whence.testing import Check, backend_checks


def enable_x64() -> AbstractContextManager[None]:
    """Float64 for a block of code, under the name that this release of JAX has for it."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    return import_module("jax.experimental").enable_x64()


with enable_x64():
    # which types a framework has is asked when the checks are made
    BACKEND = [*backend_checks(backend)]
    SINGLE = all_checks("jax", SOME, ("float32",))
    DOUBLE = all_checks("jax", FEW, ("float64",))
    LAYERS = layer_checks("jax", SOME_LAYERED, ("float32",))


@pytest.fixture
def double() -> Iterator[None]:
    with enable_x64():
        yield


@pytest.mark.parametrize("check", BACKEND, ids=str)
@pytest.mark.usefixtures("double")
def test_backend(check: Check) -> None:
    check()


@pytest.mark.parametrize("check", DOUBLE, ids=str)
@pytest.mark.usefixtures("double")
def test_methods_in_float64(check: Check) -> None:
    check()


@pytest.mark.parametrize("check", [*SINGLE, *LAYERS], ids=str)
def test_methods(check: Check) -> None:
    check()


def test_float64_is_never_answered_in_float32() -> None:
    assert all("float64" not in check.name for check in all_checks("jax", SOME[:1]))


@pytest.mark.device
@pytest.mark.skipif(jax.default_backend() == "cpu", reason="no accelerator for jax")
@pytest.mark.parametrize("check", [*backend_checks(backend, dtypes=["float32"])], ids=str)
def test_backend_on_the_device(check: Check) -> None:
    assert "cpu" not in backend.ops.device(jnp.zeros(1)).lower()
    check()
