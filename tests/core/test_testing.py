"""The kit for third parties: a sound method and backend pass, every kind of mistake is found and named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from tests.core.methods import Ablation
from whence.backends.numpy import NumpyBackend
from whence.backends.numpy.ops import NumpyOps
from whence.core.context import Context
from whence.core.method import Attribution
from whence.testing import backend_checks, check_backend, check_method, method_checks


@pytest.mark.parametrize("check", [*method_checks(Ablation())], ids=str)
def test_a_sound_method(check: Callable[[], None]) -> None:
    check()


def test_images_and_layers() -> None:
    check_method(Ablation(), ["numpy"], shape=(3, 2, 2), layout="NHWC")
    check_method(Ablation(layer="features"))
    check_method(Ablation(neuron=("features", 2)))


def changed(change: Callable[[Ablation, Context, Attribution], Any]) -> type[Ablation]:
    @dataclass(frozen=True, kw_only=True, repr=False)
    class Broken(Ablation):
        name: ClassVar[str] = "broken"

        def compute(self, ctx: Context) -> Attribution:
            found = super().compute(ctx)
            return Attribution(tuple(change(self, ctx, value) for value in found.values))

    return Broken


def reading_neighbours(method: Any, ctx: Context, value: Any) -> Any:
    return value + value.mean(axis=0)


def reading_chunks(method: Any, ctx: Context, value: Any) -> Any:
    return value * (1 + 0.01 * ctx.rows(gradient=False))


def drawing_globally(method: Any, ctx: Context, value: Any) -> Any:
    return value * np.random.random()


def writing_on_inputs(method: Any, ctx: Context, value: Any) -> Any:
    ctx.inputs[0].setflags(write=True)
    ctx.inputs[0][0] += 1
    return value


def of_another_shape(method: Any, ctx: Context, value: Any) -> Any:
    return value[..., :1]


def not_always_the_same(method: Any, ctx: Context, value: Any, count: list[int] = [0]) -> Any:  # noqa: B006
    count[0] += 1
    return value * count[0]


@pytest.mark.parametrize(("change", "checks"), [
    (reading_neighbours, ["neighbours"]), (reading_chunks, ["batch size"]), (of_another_shape, ["like the input"]),
    (drawing_globally, ["repeatable", "global random state"]), (writing_on_inputs, ["user's inputs"]),
    (not_always_the_same, ["repeatable"]),
])  # fmt: skip
def test_mistakes_in_a_method(change: Callable[..., Any], checks: list[str]) -> None:
    with pytest.raises(AssertionError) as caught:
        check_method(changed(change)(), ["numpy"])
    for name in checks:
        assert f"- broken: {name}[numpy float64]: expected" in str(caught.value) and "Came: " in str(caught.value)


def test_mistakes_in_the_class() -> None:
    @dataclass(frozen=True, repr=False)
    class Positional(Ablation):
        name: ClassVar[str] = "Positional"
        extra: int = 0

    with pytest.raises(AssertionError, match=r"a snake_case name: expected a snake_case name. Came: Positional"):
        check_method(Positional(), ["numpy"])
    with pytest.raises(AssertionError, match=r"keyword-only: expected .* Came: \['extra'\]"):
        check_method(Positional(), ["numpy"])

    class Talkative(Ablation):
        name: ClassVar[str] = "talkative"

        def __repr__(self) -> str:
            return "Talkative(seven)"

    with pytest.raises(AssertionError, match=r"talkative: repr: expected repeats in the repr\. Came: Talkative"):
        check_method(Talkative(), ["numpy"])


def test_a_claim_of_completeness_is_held_to() -> None:
    class Incomplete(Ablation):
        name: ClassVar[str] = "incomplete"

        def compute(self, ctx: Context) -> Attribution:
            return Attribution(tuple(2 * v for v in super().compute(ctx).values), baseline_score=0 * ctx.score)

    with pytest.raises(AssertionError, match=r"linear model\[numpy float64\]: expected completeness on a linear model"):
        check_method(Incomplete(), ["numpy"])


def test_skipping() -> None:
    broken = changed(reading_neighbours)()
    with pytest.raises(AssertionError, match="failed"):
        check_method(broken, ["numpy"])
    check_method(broken, ["numpy"], skip=["neighbours"])


def backend_with(**functions: Callable[..., Any]) -> NumpyBackend:
    made = NumpyBackend()
    made.ops = type("OddOps", (NumpyOps,), functions)()
    return made


@pytest.mark.parametrize(("name", "function", "checks"), [
    ("abs", lambda self, x: np.abs(x).astype(np.float64), ["abs[float32]"]),
    ("sum", lambda self, x, axis=None, keepdims=False: np.sum(x, axis=axis, keepdims=keepdims), ["signature of sum"]),
    ("pad", lambda self, x, widths, *, value=1.0: np.pad(x, widths, constant_values=value), ["signature of pad"]),
    ("tanh", lambda self, x: x, ["tanh[float32]", "tanh[float64]"]),
    ("argmax", lambda self, x, *, axis, keepdims=False:
     x.shape[axis] - 1 - np.argmax(np.flip(x, axis), axis, keepdims=keepdims), ["argmax[float32]"]),
    ("argsort", lambda self, x, *, axis=-1, descending=False: np.flip(np.argsort(x, axis, kind="stable"), axis)
     if descending else np.argsort(x, axis, kind="stable"), ["argsort[float64]"]),
    ("asarray", lambda self, a, *, like=None, dtype=None: np.asarray(a, dtype), ["asarray like a tensor[float32]"]),
    ("clip", lambda self, x, min=None, max=None: np.clip(x, min or -1, max), ["clip[float32]"]),
    ("mean", lambda self, x, *, axis=None, keepdims=False: np.mean(x, axis=axis), ["mean[float32]"]),
    ("device", lambda self, x: "gpu" if x.ndim == 0 else "cpu", ["sum[float32]"]),
    ("exp", lambda self, x: np.exp(x, out=x), ["exp[float32]"]),
    ("take", lambda self, x, indices, *, axis=0: np.take(x, indices + 1, axis=axis, mode="wrap"), ["take[float32]"]),
    ("to_numpy", lambda self, x: x.tolist(), ["to_numpy, shape, dtype[float32]"]),
    ("zeros_like", lambda self, x: np.zeros(x.shape), ["zeros_like[float32]"]),
])  # fmt: skip
def test_mistakes_in_operations(name: str, function: Callable[..., Any], checks: list[str]) -> None:
    made = {check.name: check for check in backend_checks(backend_with(**{name: function}))}
    for expected in checks:
        with pytest.raises(AssertionError) as caught:
            made[expected]()
        assert str(caught.value).startswith(f"{expected}: expected") and "Came: " in str(caught.value)


def test_a_list_of_all_failures() -> None:
    words = r"(?s)backend numpy: 2 of \d+ checks failed\n- tanh\[float32\].*- tanh\[float64\]"
    with pytest.raises(AssertionError, match=words):
        check_backend(backend_with(tanh=lambda self, x: x), skip=["plain function", "compile", "leaves"])
    check_backend(NumpyBackend(), dtypes=["float64"])


def test_names_are_unique() -> None:
    for checks in (backend_checks(NumpyBackend()), method_checks(Ablation(), ["numpy"])):
        names = [check.name for check in checks]
        assert len(names) == len(set(names)) > 20
