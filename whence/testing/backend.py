"""What a backend must do: the operations as on NumPy, derivatives, and models behind one call."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from inspect import Parameter, getattr_static, signature
from typing import Any

import numpy as np

from whence.backends.numpy.ops import ops as reference
from whence.core.backend import Backend
from whence.core.errors import CapabilityError, LayerError, ShapeError
from whence.core.layout import Layout
from whence.core.model import Model, Options
from whence.core.ops import Ops
from whence.core.rule import RuleSet
from whence.testing.cases import Case, cases, values
from whence.testing.check import ROUNDING, Check, expect, expect_close, expect_raises, run_all
from whence.testing.gradients import Place, gradient_checks


def check_backend(
    backend: Backend,
    *,
    dtypes: Sequence[str] = ("float32", "float64"),
    place: Place | None = None,
    skip: Collection[str] = (),
) -> None:
    """Raise AssertionError, listing every failure, unless the backend keeps its contract.

    ``dtypes``: the floating-point types that it has; JAX has float64 only with ``jax_enable_x64``. ``place``: makes a
    tensor of an array, on another device than the default one say. Checks whose name contains one of ``skip`` are
    left out.
    """
    run_all(f"backend {backend.name}", backend_checks(backend, dtypes=dtypes, place=place), skip)


def backend_checks(
    backend: Backend, *, dtypes: Sequence[str] = ("float32", "float64"), place: Place | None = None
) -> Iterator[Check]:
    """The checks of ``check_backend``, one by one, for pytest to parametrize; see the package."""
    ops, put = backend.ops, place or backend.ops.asarray
    for name in sorted(contract()):
        yield Check(f"signature of {name}", partial(_signature, ops, name))
    for dtype in dtypes:
        for name, calls in cases(dtype):
            yield Check(f"{name}[{dtype}]", partial(_as_on_numpy, ops, put, calls, dtype))
        for name, body in _CONVERSIONS.items():
            yield Check(f"{name}[{dtype}]", partial(body, ops, put, dtype))
        yield from gradient_checks(ops, put, dtype)
        for title, part in _MODELS.items():
            yield Check(f"{title}[{dtype}]", partial(part, backend, put, dtype))


def contract() -> dict[str, Callable[..., Any]]:
    """The public functions of ``Ops`` by name."""
    return {name: fn for name, fn in vars(Ops).items() if callable(fn) and not name.startswith("_")}


# -- signatures and values ----------------------------------------------------------------------------------
def _signature(ops: Ops, name: str) -> None:
    expect(isinstance(ops, Ops), "an instance of Ops", type(ops).__name__)
    wanted = _parameters(contract()[name])
    found = _parameters(getattr_static(type(ops), name))
    expect(found == wanted, f"{name}({', '.join(map(str, wanted))})", f"{name}({', '.join(map(str, found))})")


def _parameters(fn: Callable[..., Any]) -> list[tuple[str, str, Any]]:
    """Name, kind and default of each; what a function calls its ``*xs`` does not matter."""
    found = signature(fn).parameters.values()
    return [
        ("*" if p.kind is Parameter.VAR_POSITIONAL else p.name, p.kind.description,
         "required" if p.default is Parameter.empty else p.default)
        for p in found if p.name != "self"
    ]  # fmt: skip


def _as_on_numpy(ops: Ops, put: Place, calls: Sequence[Case], dtype: str) -> None:
    for what, call, arrays in calls:
        inputs = [put(a) for a in arrays]
        with np.errstate(all="ignore"):
            wanted = np.asarray(call(reference, *arrays))
            found = call(ops, *inputs)
        expect(ops.is_tensor(found), f"{what} to give a tensor of {ops.name}", type(found).__name__)
        kind = ops.dtype(found)
        if wanted.dtype.kind == "f":
            expect(kind == str(wanted.dtype), f"{what} of {wanted.dtype}", kind)
        else:
            family = "bool" if wanted.dtype.kind == "b" else "int"
            expect(kind.lstrip("u").startswith(family), f"{what} of {family}", kind)
        expect(ops.shape(found) == wanted.shape, f"{what} of shape {wanted.shape}", ops.shape(found))
        expect(ops.device(found) == ops.device(inputs[0]), f"{what} on {ops.device(inputs[0])}", ops.device(found))
        values_ = ops.to_numpy(found)
        expect(isinstance(values_, np.ndarray), "an array from to_numpy", type(values_).__name__)
        expect_close(values_, wanted, ROUNDING[dtype], what)
        for array, given in zip(arrays, inputs, strict=True):
            expect_close(ops.to_numpy(given), array, 0, f"the input of {what} afterwards")


# -- conversions ----------------------------------------------------------------------------------------------
def _asarray_like(ops: Ops, put: Place, dtype: str) -> None:
    like = put(values(2, dtype=dtype))
    for other in ("float16", "float32", "float64"):
        found = ops.asarray(values(3, 4).astype(other), like=like)
        expect(ops.dtype(found) == dtype, f"{other} values like a tensor of {dtype} as {dtype}", ops.dtype(found))
        expect(ops.device(found) == ops.device(like), f"values on {ops.device(like)}", ops.device(found))
    for number in (0.25, [0.25, -1.0], np.float64(0.25), np.float32(0.25)):
        found = ops.asarray(number, like=like)
        expect(ops.dtype(found) == dtype, f"{number!r} like {dtype} as {dtype}", ops.dtype(found))
        expect_close(ops.to_numpy(found), np.asarray(number, dtype), 0, f"asarray({number!r})")
    again = ops.asarray(like, like=like)
    expect(ops.is_tensor(again) and ops.dtype(again) == dtype, f"a tensor of {dtype} from itself", ops.dtype(again))


def _asarray_dtype(ops: Ops, put: Place, dtype: str) -> None:
    like = put(values(2, dtype="float32"))
    for array in (np.array([0.25, 2.0]), np.array([0.25, 2.0], np.float32), np.array([1, 2])):
        found = ops.asarray(array, like=like, dtype=dtype)
        expect(ops.dtype(found) == dtype, f"dtype={dtype!r} to win over like=", ops.dtype(found))
        expect_close(ops.to_numpy(found), array.astype(dtype), 0, "the values")
    found = ops.asarray(values(3, dtype=dtype))
    expect(ops.dtype(found) == dtype, f"an array of {dtype} to stay so", ops.dtype(found))


def _whole_numbers(ops: Ops, put: Place, dtype: str) -> None:
    like = put(values(2, dtype=dtype))
    for array in (np.array([[1, 2], [3, 4]]), np.array([7], np.int32), np.array([1, 2], np.uint8)):
        for found in (ops.asarray(array), ops.asarray(array, like=like)):
            expect("int" in ops.dtype(found), f"{array.dtype} to stay whole numbers", ops.dtype(found))
            expect(not ops.is_floating(found), "whole numbers not to be floating", ops.dtype(found))
            expect_close(ops.to_numpy(found), array, 0, "the values")
    truth = ops.asarray(np.array([True, False]), like=like)
    expect(ops.dtype(truth) == "bool" and not ops.is_floating(truth), "bool to stay bool", ops.dtype(truth))
    expect(ops.is_floating(like), f"{dtype} to be floating", False)


def _any_memory(ops: Ops, put: Place, dtype: str) -> None:
    x = np.array(values(4, 6, dtype=dtype))
    for how, array in {
        "read-only": values(4, 6, dtype=dtype), "transposed": x.T, "reversed": x[::-1], "strided": x[::2, 1::2],
        "Fortran order": np.asfortranarray(x), "broadcast": np.broadcast_to(x[0], (3, 6)), "no axes": x[0, 0],
        "empty": x[:0],
    }.items():  # fmt: skip
        expect_close(ops.to_numpy(ops.asarray(array)), array, 0, f"asarray of a {how} array")
        expect_close(ops.to_numpy(ops.asarray(array, like=put(x))), array, 0, f"asarray of a {how} array, with like")


def _to_numpy(ops: Ops, put: Place, dtype: str) -> None:
    x = put(values(2, 3, dtype=dtype))
    for how, tensor in {"a tensor": x, "a slice": x[:, 1:], "no axes": x[0, 0], "a comparison": x > 0}.items():
        found = ops.to_numpy(tensor)
        expect(isinstance(found, np.ndarray), f"an array of {how}", type(found).__name__)
        expect(str(found.dtype) == ops.dtype(tensor), f"{ops.dtype(tensor)} of {how}", found.dtype)
    half = ops.astype(x, "float16")
    expect(ops.dtype(half) == "float16" and ops.is_floating(half), "float16 from astype", ops.dtype(half))
    expect_close(ops.to_numpy(half), values(2, 3).astype(np.float16), 1e-3, "float16 values")
    shape = ops.shape(x)
    expect(type(shape) is tuple and all(type(n) is int for n in shape), "a tuple of ints as shape", shape)
    expect(type(ops.device(x)) is str and type(ops.dtype(x)) is str, "plain strings", (ops.device(x), ops.dtype(x)))


def _is_tensor(ops: Ops, put: Place, dtype: str) -> None:
    expect(ops.is_tensor(put(values(2, dtype=dtype))), "its own tensor to be one", False)
    for other in (None, 1.0, [1.0], "zeros", object()):
        expect(not ops.is_tensor(other), f"{other!r} to be no tensor", True)


def _evaluate(ops: Ops, put: Place, dtype: str) -> None:
    x = put(values(3, 4, dtype=dtype))
    found = ops.evaluate(lambda x, pair: ((), (ops.exp(x), pair[1] * 2), None, ops.shape(x)), x, (None, x))
    expect(isinstance(found, (tuple, list)) and len(found) == 4, "the function's own structure", found)
    nothing, (first, second), none, shape = found
    expect(len(nothing) == 0 and none is None and tuple(map(int, shape)) == (3, 4), "() and None and (3, 4)",
           (nothing, none, shape))  # fmt: skip
    expect_close(ops.to_numpy(first), np.exp(values(3, 4, dtype=dtype)), ROUNDING[dtype], "the first value")
    expect_close(ops.to_numpy(second), 2 * values(3, 4, dtype=dtype), ROUNDING[dtype], "the second value")


def _compile(ops: Ops, put: Place, dtype: str) -> None:
    fn = ops.compile(lambda x, y: (ops.tanh(x) + y, ops.sum(x, axis=0)))
    for shape, seed in (((3, 4), 0), ((3, 4), 1), ((2, 4), 2)):
        x, y = values(*shape, dtype=dtype, seed=seed), values(4, dtype=dtype, seed=seed)
        first, second = fn(put(x), put(y))
        expect_close(ops.to_numpy(first), np.tanh(x) + y, ROUNDING[dtype], f"the first value of {shape}")
        expect_close(ops.to_numpy(second), x.sum(axis=0), ROUNDING[dtype], f"the second value of {shape}")


def _machine(ops: Ops, put: Place, dtype: str) -> None:
    x = put(values(2, dtype=dtype))
    expect(ops.is_out_of_memory(MemoryError()) in (True, False), "a bool", ops.is_out_of_memory(MemoryError()))
    expect(not ops.is_out_of_memory(ValueError("shape")), "ValueError to be no lack of memory", True)
    free = ops.free_memory(x)
    expect(free is None or (isinstance(free, int) and free > 0), "bytes free, or None", free)
    expect(isinstance(ops.matmul_precision(x), str), "the name of a precision", ops.matmul_precision(x))


_CONVERSIONS: dict[str, Callable[[Ops, Place, str], None]] = {
    "asarray like a tensor": _asarray_like,
    "asarray with a dtype": _asarray_dtype,
    "asarray of whole numbers": _whole_numbers,
    "asarray of any memory": _any_memory,
    "to_numpy, shape, dtype": _to_numpy,
    "is_tensor": _is_tensor,
    "evaluate": _evaluate,
    "compile": _compile,
    "memory and precision": _machine,
}


# -- models -----------------------------------------------------------------------------------------------------
def _function(ops: Ops, put: Place, dtype: str) -> tuple[Callable[..., Any], np.ndarray]:
    """tanh(x w) as a plain function on the framework's tensors, and w."""
    weights = values(4, 3, dtype=dtype, seed=7)
    native = put(weights)

    def model(x: Any) -> Any:
        return ops.tanh(ops.matmul(x, native))

    return model, weights


def _run(backend: Backend, put: Place, dtype: str) -> None:
    ops, x = backend.ops, values(5, 4, dtype=dtype)
    fn, weights = _function(ops, put, dtype)
    expect(not backend.adapts(fn), "plain functions to belong to no framework", True)
    model = backend.adapt(fn, None)
    expect(isinstance(model, Model) and model.ops is ops, "a Model with the backend's ops", model)
    expect(model.differentiable == ops.differentiable, f"differentiable={ops.differentiable}", model.differentiable)
    output, tapped = model.run(put(x))
    expect(tapped == {}, "no taps", tapped)
    expect(ops.dtype(output) == dtype, f"an output of {dtype}", ops.dtype(output))
    expect_close(ops.to_numpy(output), np.tanh(x @ weights), ROUNDING[dtype], "the output")
    placed = model.place(x)
    expect(ops.is_tensor(placed) and ops.dtype(placed) == dtype, f"place to give a tensor of {dtype}", placed)
    expect(bool(model.describe()) and bool(backend.versions()), "a description and versions", model.describe())
    expect(all(isinstance(v, str) for v in backend.versions().values()), "versions as strings", backend.versions())


def _unknown_layers(backend: Backend, put: Place, dtype: str) -> None:
    model = backend.adapt(_function(backend.ops, put, dtype)[0], None)
    x = put(values(5, 4, dtype=dtype))
    expect(model.layers() == (), "a plain function without layers", model.layers())
    expect_raises(LayerError, "'conv1'", lambda: model.run(x, taps=["conv1"]))
    expect_raises(LayerError, "'conv1'", lambda: model.run(x, edits={"conv1": lambda y: y}))


def _inputs(backend: Backend, put: Place, dtype: str) -> None:
    ops, x, y = backend.ops, values(5, 4, dtype=dtype), values(5, 4, dtype=dtype, seed=1)

    def model(first: Any, second: Any) -> Any:
        return first * 2 - second

    for inputs in ((put(x), put(y)), [put(x), put(y)], {"second": put(y), "first": put(x)}):
        found = backend.adapt(model, None).run(inputs)[0]
        expect_close(ops.to_numpy(found), 2 * x - y, ROUNDING[dtype], f"the output of a {type(inputs).__name__}")
    whole = backend.adapt(lambda pair: pair[0] - pair[1], Options(unpack=False))
    expect_close(ops.to_numpy(whole.run((put(x), put(y)))[0]), x - y, ROUNDING[dtype], "the output with unpack=False")


def _options(backend: Backend, put: Place, dtype: str) -> None:
    ops, x = backend.ops, values(5, 4, dtype=dtype)
    outputs: dict[str, Callable[[Any], Any]] = {
        "a dict": lambda x: {"logits": x * 2, "other": x},
        "a tuple": lambda x: (x, x * 2),
        "a list of one": lambda x: [x * 2],
        "a callable": lambda x: {"deep": (x * 2,)},
    }
    choices: dict[str, Any] = {"a dict": "logits", "a tuple": 1, "a list of one": None,
                               "a callable": lambda out: out["deep"][0]}  # fmt: skip
    for name, fn in outputs.items():
        chosen = backend.adapt(fn, Options(output=choices[name]))
        expect_close(ops.to_numpy(chosen.run(put(x))[0]), 2 * x, ROUNDING[dtype], f"output={choices[name]!r}")
    expect_raises(ShapeError, "whence.wrap", lambda: backend.adapt(outputs["a dict"], None).run(put(x)))
    scaled = backend.adapt(lambda x, factor: x * factor, Options(preprocess=lambda x: x - 1, kwargs={"factor": 3}))
    expect_close(ops.to_numpy(scaled.run(put(x))[0]), 3 * (x - 1), ROUNDING[dtype], "preprocess and kwargs")


def _layouts(backend: Backend, put: Place, dtype: str) -> None:
    fn = _function(backend.ops, put, dtype)[0]
    found = backend.adapt(fn, None).layout(4)
    expect(found == Layout(), "no layout guessed for a plain function", found)
    for name, wanted in (("NHWC", Layout(3, (1, 2))), ("NCHW", Layout(1, (2, 3)))):
        found = backend.adapt(fn, Options(layout=name)).layout(4)
        expect(found == wanted, f"{name} as {wanted}", found)
    changed = backend.adapt(fn, None).with_options(layout="NHWC").layout(4)
    expect(changed == Layout(3, (1, 2)), "with_options(layout='NHWC') to count", changed)


def _leaves(backend: Backend, put: Place, dtype: str) -> None:
    """A compiled leaf with the arguments and results that the engine gives it."""
    ops = backend.ops
    fn, weights = _function(ops, put, dtype)
    model = backend.adapt(fn, None)

    def leaf(run: Any, fixed: Any, rows: Any, draws: Any, mask: Any, index: Any) -> Any:
        output = run(rows[0][0] * draws[0][0])[0]
        chosen = ops.argmax(output, axis=1, keepdims=True) if index is None else None
        score = ops.take_along_axis(output, index if chosen is None else chosen, axis=1)
        return (ops.sum(score * mask),), score, chosen, ops.shape(output)

    compiled = model.compile(leaf, ("a leaf", 1))
    expect(model.compile(leaf, ("a leaf", 1)) is compiled, "the compiled leaf found again by its key", "another")
    expect(model.compile(leaf, ("a leaf", 2)) is not compiled, "another leaf for another key", "the same")
    for rows, index in ((5, None), (5, np.array([[0], [1], [2], [0], [1]])), (3, None)):
        x = values(rows, 4, dtype=dtype)
        place = None if index is None else ops.asarray(index, like=put(x))
        arguments = ((None,), [(put(x),)], ((put(x),), put(x[:1])), put(np.ones((rows, 1), dtype)), place)
        sums, score, chosen, shape = ops.evaluate(compiled, *arguments)
        wanted = np.tanh((x * x) @ weights)
        at = wanted.argmax(axis=1)[:, None] if index is None else index
        expect_close(ops.to_numpy(score), np.take_along_axis(wanted, at, 1), ROUNDING[dtype], "the score")
        expect_close(ops.to_numpy(sums[0]), np.take_along_axis(wanted, at, 1).sum(), 2 * ROUNDING[dtype], "the sum")
        expect(tuple(map(int, shape)) == (rows, 3), f"the shape {(rows, 3)} through the leaf", shape)
        if index is None:
            expect_close(ops.to_numpy(chosen), at, 0, "the chosen index")
        else:
            expect(chosen is None, "None through the leaf", chosen)


def _held(backend: Backend, put: Place, dtype: str) -> None:
    fn = _function(backend.ops, put, dtype)[0]
    before = dict(vars(fn))
    model = backend.adapt(fn, None)
    with model.hold() as outer, outer.hold():
        model.run(put(values(2, 4, dtype=dtype)))
    try:
        with model.hold():
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    expect(dict(vars(fn)) == before, "nothing left on the user's function", vars(fn))


def _forgotten(backend: Backend, put: Place, dtype: str) -> None:
    fn = _function(backend.ops, put, dtype)[0]
    model = backend.adapt(fn, None)
    model.compile(lambda run, x: run(x)[0], "a leaf")(put(values(2, 4, dtype=dtype)))
    gone = weakref.ref(fn)
    del fn, model
    gc.collect()
    expect(gone() is None, "compiled code not to keep the user's model alive", "it does")


def _interception(backend: Backend, put: Place, dtype: str) -> None:
    model = backend.adapt(_function(backend.ops, put, dtype)[0], None)
    expect(model.coverage is None, "no coverage of a model that is not intercepted", model.coverage)
    if not backend.ops.differentiable:
        expect_raises(CapabilityError, "'none'", lambda: model.intercept(RuleSet("none", ())))


_MODELS: dict[str, Callable[[Backend, Place, str], None]] = {
    "a plain function runs": _run,
    "unknown layers": _unknown_layers,
    "several inputs": _inputs,
    "options of wrap": _options,
    "layouts": _layouts,
    "compiled leaves": _leaves,
    "hold": _held,
    "the cache keeps no model alive": _forgotten,
    "interception": _interception,
}
