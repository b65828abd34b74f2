"""Derivatives against finite differences of the same function on NumPy in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from einops import einsum, rearrange

from whence.backends.numpy.ops import ops as numpy_ops
from whence.core.errors import CapabilityError
from whence.core.ops import Ops
from whence.testing.cases import values
from whence.testing.check import Check, expect, expect_close, expect_raises

Function = Callable[..., Any]
"""``function(ops, *tensors) -> tensor``"""
Place = Callable[[np.ndarray], Any]
TOLERANCE = {"float32": 2e-5, "float64": 1e-8}


def functions() -> Iterator[tuple[str, Function, tuple[np.ndarray, ...]]]:
    """Differentiable functions with the values to differentiate at, away from kinks and ties."""
    x, y, image = values(3, 4), values(3, 4, seed=1), values(2, 3, 4, 5)
    positive = np.abs(x) + 0.5
    for name in ("abs", "exp", "expm1", "tanh"):
        yield name, lambda ops, x, n=name: getattr(ops, n)(x), (x,)
    for name in ("log", "sqrt"):
        yield name, lambda ops, x, n=name: getattr(ops, n)(x), (positive,)
    for name in ("maximum", "minimum"):
        yield name, lambda ops, x, y, n=name: getattr(ops, n)(x, y), (x, y)
        yield f"{name} with one row", lambda ops, x, y, n=name: getattr(ops, n)(x, y), (x, y[0])
    for low, high in ((-0.5, 0.5), (0.0, None), (None, 0.0)):
        yield f"clip to {low}, {high}", lambda ops, x, a=low, b=high: ops.clip(x, a, b), (x,)
    for name in ("sum", "mean", "max", "min"):
        for axis in (None, -1, (1, 2)):
            yield f"{name} over {axis}", lambda ops, x, n=name, a=axis: getattr(ops, n)(x, axis=a), (image,)
    yield "where", lambda ops, x, y: ops.where(x > y, x * x, y), (x, y)
    yield "take", lambda ops, x: ops.take(x, ops.asarray(np.array([2, 0, 2]), like=x), axis=1), (x,)
    yield "take_along_axis", _second_largest, (x,)
    yield "concat", lambda ops, x, y: ops.concat([x, y, x], axis=1), (x, y)
    yield "stack", lambda ops, x, y: ops.stack([x, x, y], axis=-1), (x, y)
    yield "broadcast_to", lambda ops, x: ops.broadcast_to(x, (2, 3, 4)), (x,)
    yield "pad", lambda ops, x: ops.pad(x, [(1, 0), (0, 2)], value=3.0), (x,)
    yield "cumulative_sum", lambda ops, x: ops.cumulative_sum(x, axis=1), (x,)
    yield "matmul", lambda ops, x, y: ops.matmul(x, y), (x, y.T.copy())
    yield "resize", lambda ops, x: ops.resize(x, (6, 3), axes=(2, 3)), (image,)
    yield "astype", lambda ops, x: ops.astype(x, ops.dtype(x)) * 2, (x,)
    yield "arithmetic", lambda ops, x, y: (x * y - 2 / y) ** 3 / (x * x + 1), (x, np.abs(y) + 0.5)
    yield "slicing", lambda ops, x: x[1:, ::2] * x[0, 1] + x[:2, None, 0], (x,)
    yield "einops", lambda ops, x, y: rearrange(einsum(x, y, "a b, c b -> a c"), "a c -> (c a)"), (x, y)
    yield "a tensor used twice", lambda ops, x: ops.tanh(x) * ops.exp(x), (x,)
    yield "integers beside", lambda ops, x: x * ops.astype(ops.argmax(x, axis=1, keepdims=True), ops.dtype(x)), (x,)


def _second_largest(ops: Ops, x: Any) -> Any:
    order = ops.argsort(x, axis=1, descending=True)
    return ops.take_along_axis(x, order[:, 1:2], axis=1)


def differences(fn: Function, xs: Sequence[np.ndarray], cotangent: np.ndarray) -> list[np.ndarray]:
    """Central differences of sum(cotangent fn(xs)) on NumPy, one array per input."""
    step, found = 1e-5, []
    for i, x in enumerate(xs):
        slope = np.zeros(x.size)
        for place in range(x.size):
            ends = []
            for side in (step, -step):
                moved = np.array(x, np.float64)
                moved.flat[place] += side
                ends.append(float((cotangent * fn(numpy_ops, *xs[:i], moved, *xs[i + 1 :])).sum()))
            slope[place] = (ends[0] - ends[1]) / (2 * step)
        found.append(slope.reshape(x.shape))
    return found


def gradient_checks(ops: Ops, place: Place, dtype: str) -> Iterator[Check]:
    """``vjp``, ``custom_vjp`` and ``compile`` of one element type."""
    if not ops.differentiable:
        yield Check(f"vjp is refused[{dtype}]", lambda: _refused(ops, place))
        return
    tensor = _placer(place, dtype)
    for name, fn, xs in functions():
        yield Check(f"vjp of {name}[{dtype}]", _against_differences(ops, tensor, fn, xs, dtype))
    for name, body in {
        "a missing path gives zeros": _missing_paths,
        "stop_gradient": _stopped,
        "vjp leaves its inputs alone": _inputs_alone,
        "vjp at what evaluate gave": _after_evaluate,
        "custom_vjp with constant cotangents": _custom_constant,
        "custom_vjp with residuals": _custom_residuals,
        "custom_vjp of several inputs": _custom_several,
        "vjp_inside": _inside,
        "vjp inside compile": _compiled,
        "custom_vjp inside compile": _custom_compiled,
    }.items():
        yield Check(f"{name}[{dtype}]", partial(body, ops, tensor, dtype))


def _placer(place: Place, dtype: str) -> Place:
    def tensor(array: np.ndarray) -> Any:
        array = array.astype(dtype)
        array.setflags(write=False)
        return place(array)

    return tensor


def _refused(ops: Ops, place: Place) -> None:
    x = place(values(3))
    expect_raises(CapabilityError, "derivative", lambda: ops.vjp(lambda x: x * 2, x))
    expect_raises(CapabilityError, "derivative", lambda: ops.custom_vjp(lambda x: (x, None), lambda r, g: (g,)))


def _against_differences(
    ops: Ops, tensor: Place, fn: Function, xs: tuple[np.ndarray, ...], dtype: str
) -> Callable[[], None]:
    def body() -> None:
        wanted = fn(numpy_ops, *xs)
        weights = values(*np.shape(wanted), seed=9)
        inputs = [tensor(x) for x in xs]
        output, pullback = ops.vjp(lambda *points: fn(ops, *points), *inputs)
        expect_close(ops.to_numpy(output), np.asarray(wanted, dtype), TOLERANCE[dtype], "the output")
        found = pullback(tensor(weights))
        expect(isinstance(found, tuple) and len(found) == len(xs), f"a tuple of {len(xs)} cotangents", type(found))
        for i, (slope, x, given) in enumerate(zip(found, inputs, differences(fn, xs, weights), strict=True)):
            expect(ops.dtype(slope) == dtype, f"cotangent {i} of {dtype}", ops.dtype(slope))
            expect(ops.device(slope) == ops.device(x), f"cotangent {i} on {ops.device(x)}", ops.device(slope))
            expect_close(ops.to_numpy(slope), given, TOLERANCE[dtype], f"cotangent {i}")

    return body


def _missing_paths(ops: Ops, tensor: Place, dtype: str) -> None:
    x, y = values(3, 4), values(2, 5)
    constant = tensor(values(3))
    for name, fn in {
        "the first input alone": lambda x, y: ops.sum(x * x, axis=1),
        "no input": lambda x, y: constant * 2,
        "no input but their shape": lambda x, y: ops.sum(ops.zeros_like(x), axis=1),
        "the order of the first": lambda x, y: ops.astype(ops.argmax(x, axis=1), dtype),
    }.items():
        output, pullback = ops.vjp(fn, tensor(x), tensor(y))
        first, second = pullback(ops.ones_like(output))
        wanted = 2 * x if name == "the first input alone" else np.zeros((3, 4))
        expect_close(ops.to_numpy(first), wanted, TOLERANCE[dtype], f"the first cotangent of {name}")
        expect_close(ops.to_numpy(second), np.zeros((2, 5)), 0, f"the second cotangent of {name}")


def _stopped(ops: Ops, tensor: Place, dtype: str) -> None:
    x = values(3, 4)
    output, pullback = ops.vjp(lambda x: x * ops.stop_gradient(ops.exp(x)), tensor(x))
    expect_close(ops.to_numpy(output), x * np.exp(x), TOLERANCE[dtype], "the output")
    expect_close(ops.to_numpy(pullback(ops.ones_like(output))[0]), np.exp(x), TOLERANCE[dtype], "the cotangent")


def _inputs_alone(ops: Ops, tensor: Place, dtype: str) -> None:
    x = tensor(values(3, 4))
    flags = {name: getattr(x, name, None) for name in ("requires_grad", "grad", "grad_fn")}
    _, pullback = ops.vjp(lambda x: x * x, x)
    pullback(ops.ones_like(x))
    after = {name: getattr(x, name, None) for name in flags}
    expect(after == flags, f"the input's flags as before, {flags}", after)
    expect_close(ops.to_numpy(x), values(3, 4, dtype=dtype), 0, "the input")


def _after_evaluate(ops: Ops, tensor: Place, dtype: str) -> None:
    x = values(3, 4)
    made = ops.evaluate(lambda x: ops.exp(x), tensor(x))
    output, pullback = ops.vjp(lambda e: e * e * made, made)
    wanted = 2 * np.exp(x) ** 2
    expect_close(ops.to_numpy(pullback(ops.ones_like(output))[0]), wanted, TOLERANCE[dtype], "the cotangent")


def _constant_slope(ops: Ops) -> Callable[..., Any]:
    """tanh with the derivative three."""
    return ops.custom_vjp(lambda x: (ops.tanh(x), None), lambda residuals, g: (g * 3,))


def _custom_constant(ops: Ops, tensor: Place, dtype: str) -> None:
    x, fn = values(3, 4), _constant_slope(ops)
    expect_close(ops.to_numpy(fn(tensor(x))), np.tanh(x).astype(dtype), TOLERANCE[dtype], "the value by itself")
    output, pullback = ops.vjp(lambda x: fn(x * 2) * 5, tensor(x))
    expect_close(ops.to_numpy(output), 5 * np.tanh(2 * x), TOLERANCE[dtype], "the value")
    found = pullback(tensor(values(3, 4, seed=1)))[0]
    expect_close(ops.to_numpy(found), 30 * values(3, 4, seed=1), TOLERANCE[dtype], "the cotangent")
    ignoring = ops.custom_vjp(lambda x: (x * 1, None), lambda residuals, g: (ops.ones_like(g),))
    found = ops.vjp(lambda x: ignoring(x), tensor(x))[1](tensor(values(3, 4, seed=1)))[0]
    expect_close(ops.to_numpy(found), np.ones((3, 4)), TOLERANCE[dtype], "a cotangent of its own")


def _residual_slope(ops: Ops) -> Callable[..., Any]:
    """x y, the derivative towards x that of x^2 y, towards y none."""
    return ops.custom_vjp(
        lambda x, y: (x * y, (x, y)), lambda kept, g: (g * 2 * kept[0] * kept[1], ops.zeros_like(kept[1]))
    )


def _custom_residuals(ops: Ops, tensor: Place, dtype: str) -> None:
    x, y, weights, fn = values(3, 4), values(3, 4, seed=1), values(3, 4, seed=2), _residual_slope(ops)
    output, pullback = ops.vjp(lambda x, y: ops.exp(fn(x, y)), tensor(x), tensor(y))
    expect_close(ops.to_numpy(output), np.exp(x * y), TOLERANCE[dtype], "the value")
    first, second = pullback(tensor(weights))
    expect_close(ops.to_numpy(first), weights * np.exp(x * y) * 2 * x * y, TOLERANCE[dtype], "the first cotangent")
    expect_close(ops.to_numpy(second), np.zeros((3, 4)), 0, "the second cotangent")


def _custom_several(ops: Ops, tensor: Place, dtype: str) -> None:
    """Used twice in one function, at other values and shapes each time."""
    fn, x, y = _residual_slope(ops), values(3, 4), values(2, seed=1)
    output, pullback = ops.vjp(lambda x, y: ops.sum(fn(x, x + 1)) * ops.sum(fn(y, y)), tensor(x), tensor(y))
    sums = (x * (x + 1)).sum(), (y * y).sum()
    first, second = pullback(ops.ones_like(output))
    expect_close(ops.to_numpy(first), sums[1] * 2 * x * (x + 1), 2 * TOLERANCE[dtype], "the first cotangent")
    expect_close(ops.to_numpy(second), sums[0] * 2 * y * y, 2 * TOLERANCE[dtype], "the second cotangent")


def _inside(ops: Ops, tensor: Place, dtype: str) -> None:
    """Towards values on the way, one of them behind another, one that the output does not depend on."""
    x = values(3, 4, seed=7)

    def gradients(x: Any) -> tuple[Any, ...]:
        def fn(watch: Callable[[str, Any], Any]) -> Any:
            doubled = watch("doubled", 2 * x)
            watch("aside", x + 1)
            return ops.sum(watch("squared", doubled**2) * x)

        output, found, pullback = ops.vjp_inside(fn)
        back = pullback(ops.ones_like(output))
        return (found["doubled"], found["squared"], back["doubled"], back["aside"], back["squared"])

    wanted = (2 * x, 4 * x**2, 4 * x**2, np.zeros_like(x), x)
    for run in (gradients, ops.compile(gradients)):
        for name, value, right in zip(("2 x", "4 x^2", "d/d 2x", "0", "d/d 4x^2"), run(tensor(x)), wanted, strict=True):
            expect_close(ops.to_numpy(value), right, TOLERANCE[dtype], f"vjp_inside: {name}")


def _compiled(ops: Ops, tensor: Place, dtype: str) -> None:
    def slope(x: Any, weights: Any) -> Any:
        output, pullback = ops.vjp(lambda x: ops.tanh(x) ** 2, x)
        return output, pullback(weights)[0]

    fn = ops.compile(slope)
    for shape, seed in (((3, 4), 0), ((3, 4), 1), ((2, 5), 2)):
        x, weights = values(*shape, seed=seed), values(*shape, seed=seed + 5)
        output, found = fn(tensor(x), tensor(weights))
        expect_close(ops.to_numpy(output), np.tanh(x) ** 2, TOLERANCE[dtype], "the value")
        wanted = weights * 2 * np.tanh(x) * (1 - np.tanh(x) ** 2)
        expect_close(ops.to_numpy(found), wanted, TOLERANCE[dtype], "the cotangent")


def _custom_compiled(ops: Ops, tensor: Place, dtype: str) -> None:
    constant, residual = _constant_slope(ops), _residual_slope(ops)
    x, y = values(3, 4), values(3, 4, seed=1)

    def slopes(x: Any, y: Any) -> Any:
        output, pullback = ops.vjp(lambda x, y: constant(residual(x, y)), x, y)
        return output, *pullback(ops.ones_like(output))

    output, first, second = ops.compile(slopes)(tensor(x), tensor(y))
    expect_close(ops.to_numpy(output), np.tanh(x * y), TOLERANCE[dtype], "the value")
    expect_close(ops.to_numpy(first), 6 * x * y, TOLERANCE[dtype], "the first cotangent")
    expect_close(ops.to_numpy(second), np.zeros((3, 4)), 0, "the second cotangent")
    alone = ops.compile(lambda x, y: residual(x, y))(tensor(x), tensor(y))
    expect_close(ops.to_numpy(alone), x * y, TOLERANCE[dtype], "the value without a derivative")
