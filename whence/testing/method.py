"""What is true of every attribution method, on every framework."""

from __future__ import annotations

import random
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import FrozenInstanceError, dataclass, fields, is_dataclass, replace
from functools import cached_property, partial
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import numpy as np

from whence.core.backend import Backend, backend_named, backends
from whence.core.errors import CapabilityError, CoverageError, NonFiniteError, ParameterError, ShapeError, TargetError
from whence.core.explanation import Explanation, load
from whence.core.method import Method
from whence.core.ops import Ops, Tensor
from whence.core.registry import BUILT_IN, method_class
from whence.testing import nets
from whence.testing.cases import values
from whence.testing.check import AGREEMENT, Check, expect, expect_close, expect_raises, run_all

BATCH = 5
_USUAL = object()
"""The target that explanations are compared at."""


def check_method(
    method: Method,
    backends: Sequence[Backend | str] | None = None,
    *,
    shape: tuple[int, ...] = (6,),
    layout: str | None = None,
    dtypes: Sequence[str] = ("float32", "float64"),
    skip: Collection[str] = (),
) -> None:
    """Raise AssertionError, listing every failure, unless the method does what every method promises.

    ``backends``: where to run it, by default wherever the framework is imported. ``shape`` and ``layout`` are those of
    one sample, for methods that need images: ``shape=(6, 6, 2), layout="NHWC"``. A method with a ``layer`` is run on
    a model with the layers ``features``, shaped like the input, and ``head``. ``dtypes`` that a framework does not
    have, such as JAX float64 unless ``jax_enable_x64`` is set, are left out. Checks whose name contains one of
    ``skip`` are left out.
    """
    run_all(repr(method), method_checks(method, backends, shape=shape, layout=layout, dtypes=dtypes), skip)


def method_checks(
    method: Method,
    backends: Sequence[Backend | str] | None = None,
    *,
    shape: tuple[int, ...] = (6,),
    layout: str | None = None,
    dtypes: Sequence[str] = ("float32", "float64"),
) -> Iterator[Check]:
    """The checks of ``check_method``, one by one, for pytest to parametrize; see the package."""
    for name, body in _VALUE_CHECKS.items():
        yield Check(f"{method.name}: {name}", partial(body, method))
    places = [
        _Place(method, backend, dtype, shape, layout)
        for backend in _usable(method, backends)
        for dtype in dtypes
        if _holds(backend.ops, dtype)
    ]
    for place in places:
        for name, check in _CHECKS.items():
            if place.concerned(check):
                yield Check(f"{method.name}: {name}[{place}]", partial(check, place))
    for place in places:
        first = next(p for p in places if p.dtype == place.dtype)
        if first is not place:
            yield Check(f"{method.name}: agreement[{first}, {place}]", partial(_agreement, first, place))
    if method.needs_gradient:
        yield Check(f"{method.name}: a black box", lambda: _black_box(method, shape))


def _usable(method: Method, given: Sequence[Backend | str] | None) -> list[Backend]:
    chosen = backends() if given is None else [backend_named(b) if isinstance(b, str) else b for b in given]
    return [b for b in chosen if b.ops.differentiable or not method.needs_gradient]


def _holds(ops: Ops, dtype: str) -> bool:
    """Whether the framework keeps the element type, as JAX does with float64 only where it is enabled."""
    return ops.dtype(ops.asarray(np.zeros(1, dtype))) == dtype


@dataclass(frozen=True)
class _Place:
    """A method on one framework in one element type, with models and inputs."""

    method: Method
    backend: Backend
    dtype: str
    shape: tuple[int, ...]
    layout: str | None

    def __str__(self) -> str:
        return f"{self.backend.name} {self.dtype}"

    def concerned(self, check: Callable[[_Place], None]) -> bool:
        """Whether a check says something about this method: those of inputs do not where a layer is explained."""
        method = self.method
        at_inputs = method.layer is None and method.neuron is None and not method.needs_layers
        return (check not in _AT_INPUTS or at_inputs) and (check not in _SCORED or method.explains_score)

    @property
    def ops(self) -> Ops:
        return self.backend.ops

    @property
    def tolerance(self) -> float:
        return AGREEMENT[self.dtype]

    @property
    def host(self) -> np.ndarray:
        return values(BATCH, *self.shape, dtype=self.dtype, seed=21)

    @cached_property
    def x(self) -> Tensor:
        return self.tensor(self.host)

    def tensor(self, array: np.ndarray) -> Tensor:
        return self.ops.asarray(array)

    def wrapped(self, fn: Any) -> Any:
        """A plain function as a model, with the layout where images are explained."""
        model = self.backend.adapt(fn, None)
        return model if self.layout is None else model.with_options(layout=self.layout)

    @cached_property
    def model(self) -> Any:
        if self.method.layer is not None or self.method.neuron is not None or self.method.needs_layers:
            return nets.layered(self.backend, self.dtype, self.shape, self.layout)
        return self.wrapped(nets.classifier(self.ops, self.dtype, self.shape))

    @cached_property
    def pair_model(self) -> Any:
        return self.wrapped(nets.two_inputs(self.ops, self.dtype, self.shape))

    @property
    def target(self) -> int | None:
        """Class 1, unless a neuron is explained."""
        return None if self.method.neuron else 1

    def explain(self, x: Any = None, target: Any = _USUAL, *, model: Any = None, **options: Any) -> Explanation:
        target = self.target if target is _USUAL else target
        found: Explanation = self.method.explain(
            self.model if model is None else model, self.x if x is None else x, target, **options
        )
        return found

    @cached_property
    def usual(self) -> Explanation:
        """The explanation that others are compared with."""
        return self.explain()

    def close(self, found: Tensor, wanted: Tensor, what: str) -> None:
        expect_close(self.ops.to_numpy(found), self.ops.to_numpy(wanted), self.tolerance, what)


# -- the method as a value ---------------------------------------------------------------------------------------
def _named(method: Method) -> None:
    name = type(method).name
    expect(re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) is not None, "a snake_case name", name)
    if name in BUILT_IN and type(method).__module__.startswith("whence."):
        expect(method_class(name) is type(method), f"{type(method).__name__} under {name!r}", method_class(name))


def _frozen(method: Method) -> None:
    expect(is_dataclass(method), "a dataclass", type(method).__name__)
    for name in [f.name for f in fields(method)]:
        try:
            setattr(method, name, getattr(method, name))
        except FrozenInstanceError:
            continue
        raise AssertionError(f"expected FrozenInstanceError on writing {name}. Came: it was written")


def _keyword_only(method: Method) -> None:
    found = {p.name: p.kind for p in signature(type(method)).parameters.values()}
    wrong = [name for name, kind in found.items() if kind is not Parameter.KEYWORD_ONLY]
    expect(not wrong, "keyword-only hyper-parameters", wrong)


def _shown(method: Method) -> None:
    for f in fields(method):
        if f.init and f.name not in ("layer", "neuron"):
            expect(f"{f.name}=" in repr(method), f"{f.name} in the repr", repr(method))
    made = {f.name: getattr(method, f.name) for f in fields(method) if f.init}
    expect(type(method)(**made).params == method.params, "the same method from its own parameters", made)
    if not all(_literal(value) for value in method.params.values()):
        return
    names = {type(m).__name__: type(m) for m in (method, *method.params.values()) if is_dataclass(m)}
    again = eval(repr(method), names)
    expect(again == method, repr(method), repr(again))


def _literal(value: Any) -> bool:
    """Whether the repr of a value is Python for it."""
    if is_dataclass(value):
        return all(_literal(getattr(value, f.name)) for f in fields(value) if f.repr)
    if isinstance(value, (tuple, list)):
        return all(map(_literal, value))
    return value is None or isinstance(value, (bool, int, float, str))


_VALUE_CHECKS: dict[str, Callable[[Method], None]] = {
    "a snake_case name": _named,
    "frozen": _frozen,
    "keyword-only": _keyword_only,
    "repr": _shown,
}


# -- what comes back -----------------------------------------------------------------------------------------------
def _like_the_input(p: _Place) -> None:
    ops, e = p.ops, p.usual
    expect(ops.is_tensor(e.attributions), f"a tensor of {ops.name}", type(e.attributions).__name__)
    if p.method.layer is None and p.method.view == "attributions":
        expect(ops.shape(e.attributions) == ops.shape(p.x), f"shape {ops.shape(p.x)}", ops.shape(e.attributions))
    for name in ("attributions", "score", "baseline_score", "delta", "std_error"):
        found = getattr(e, name)
        if found is None:
            continue
        expect(ops.dtype(found) == p.dtype, f"{name} of {p.dtype}", ops.dtype(found))
        expect(ops.device(found) == ops.device(p.x), f"{name} on {ops.device(p.x)}", ops.device(found))
        expect(ops.shape(found)[0] == BATCH, f"{name} of {BATCH} samples", ops.shape(found))
        if name in ("score", "baseline_score", "delta"):
            expect(ops.shape(found) == (BATCH,), f"{name} of shape ({BATCH},)", ops.shape(found))
    if p.method.neuron is None and p.method.explains_score:
        output = p.model.run(p.x)[0][:, 1]
        p.close(e.score, output, "the explained score")


def _provenance(p: _Place) -> None:
    e = p.usual
    source = e.provenance
    expect(e.method == p.method.name and dict(e.params) == p.method.params, "method and its parameters", e)
    expect(source.backend == p.backend.name and source.dtype == p.dtype, str(p), (source.backend, source.dtype))
    expect(source.seed == getattr(p.method, "seed", None), "the seed", source.seed)
    expect(source.forward > 0 and source.batch_size > 0 and source.seconds > 0, "model evaluations counted", source)
    expect((source.backward > 0) == p.method.needs_gradient, "gradients counted where needed", source.backward)
    expect({"whence", "python", "numpy"} <= set(source.versions), "versions", source.versions)


def _kept(p: _Place) -> None:
    with tempfile.TemporaryDirectory() as folder:
        again = load(p.usual.save(Path(folder) / "explanation.npz"))
    for name in ("attributions", "score", "delta", "std_error", "target"):
        wanted = getattr(p.usual.numpy(), name)
        if wanted is None:
            expect(getattr(again, name) is None, f"{name} = None", getattr(again, name))
        else:
            expect_close(getattr(again, name), wanted, 0, f"{name} after save and load")


def _repeatable(p: _Place) -> None:
    p.close(p.explain().attributions, p.usual.attributions, "the same attributions again")
    again = replace(p.method)
    found = again.explain(p.model, p.x, p.target).attributions
    p.close(found, p.usual.attributions, "the same attributions from an equal method")
    seed = getattr(p.method, "seed", None)
    drawn = p.usual.std_error is not None and bool((p.ops.to_numpy(p.usual.std_error) > 0).any())
    if isinstance(seed, int) and drawn:
        other = replace(p.method, seed=seed + 1).explain(p.model, p.x, p.target).attributions  # type: ignore[call-arg]
        same = np.array_equal(p.ops.to_numpy(other), p.ops.to_numpy(p.usual.attributions))
        expect(not same, "other draws from another seed", "the same attributions")


def _batch_size(p: _Place) -> None:
    for size in (1, 2, 7, 64):
        found = p.explain(batch_size=size)
        p.close(found.attributions, p.usual.attributions, f"attributions with batch_size={size}")
        if p.method.explains_score:
            p.close(found.score, p.usual.score, f"the score with batch_size={size}")
        expect(found.provenance.batch_size == size, f"batch_size {size} reported", found.provenance.batch_size)
        if p.usual.delta is not None:
            scale = float(np.abs(p.ops.to_numpy(p.usual.score)).max())
            gap = np.abs(p.ops.to_numpy(found.delta) - p.ops.to_numpy(p.usual.delta)).max()
            expect(gap <= 20 * p.tolerance * scale, f"the same delta with batch_size={size}", f"off by {gap:.3g}")


def _neighbours(p: _Place) -> None:
    others = np.array(values(BATCH, *p.shape, dtype=p.dtype, seed=22)) * 3
    others[1] = p.host[1]
    found = p.explain(p.tensor(others))
    p.close(found.attributions[1:2], p.usual.attributions[1:2], "sample 1 among other neighbours")
    if p.method.explains_score:
        p.close(found.score[1:2], p.usual.score[1:2], "the score of sample 1 among other neighbours")
    fewer = p.explain(p.tensor(p.host[:2]))
    p.close(fewer.attributions, p.usual.attributions[:2], "the first two samples by themselves")


def _user_data(p: _Place) -> None:
    p.explain()
    expect_close(p.ops.to_numpy(p.x), p.host, 0, "the user's inputs afterwards")
    e = p.usual
    expect(e.inputs is p.x, "the user's own inputs in the explanation", type(e.inputs).__name__)


def _numpy_arrays(p: _Place) -> None:
    found = p.explain(p.host)
    for name in ("attributions", "score") if p.method.explains_score else ("attributions",):
        expect(isinstance(getattr(found, name), np.ndarray), f"{name} as an array", type(getattr(found, name)).__name__)
    expect(str(found.attributions.dtype) == p.dtype, p.dtype, found.attributions.dtype)
    expect_close(found.attributions, p.ops.to_numpy(p.usual.attributions), p.tolerance, "attributions of arrays")


def _global_state(p: _Place) -> None:
    before = random.getstate(), np.random.get_state()
    replace(p.method).explain(p.model, p.x, p.target)
    after = random.getstate(), np.random.get_state()
    expect(repr(after) == repr(before), "Python's and NumPy's random generators as before", "another state")
    np.random.seed(1)
    random.seed(1)
    again = p.explain().attributions
    np.random.set_state(before[1])
    random.setstate(before[0])
    p.close(again, p.usual.attributions, "draws that read no global generator")


# -- targets -----------------------------------------------------------------------------------------------------
def _targets(p: _Place) -> None:
    if p.method.neuron is not None:
        return
    forms: dict[str, Any] = {
        "a list": [1] * BATCH, "an array": np.full(BATCH, 1), "a tuple index": (1,), "a NumPy int": np.int64(1),
        "a callable": _second,
    }  # fmt: skip
    for name, target in forms.items():
        p.close(p.explain(target=target).attributions, p.usual.attributions, f"attributions of target 1 as {name}")
    predicted = p.ops.to_numpy(p.model.run(p.x)[0]).argmax(axis=1)
    expect(len(set(predicted.tolist())) > 1, "several classes among the samples", predicted)
    found, wanted = p.explain(target=None), p.explain(target=predicted)
    expect_close(found.target, predicted[:, None], 0, "the predicted classes")
    p.close(found.attributions, wanted.attributions, "attributions of the predicted classes")


def _several_targets(p: _Place) -> None:
    if p.method.neuron is not None:
        return
    targets: list[Any] = [1, 0, _second, [2, 1, 0, 1, 2]]
    model, x = p.model, p.x
    if not p.method.shares_passes:
        call = partial(p.method.explain, model, x, targets, multi_target=True)
        expect_raises(CapabilityError, "multi_target", call)
        return
    expect(bool(p.usual), "an explanation of one target", p.usual)  # whether the model mixes rows is known from here on
    found = p.method.explain(model, x, targets, multi_target=True)
    expect(len(found) == len(targets), f"{len(targets)} explanations", len(found))
    for one, target in zip(found, targets, strict=True):
        wanted = p.explain(target=target)
        for name in ("attributions", "score"):
            p.close(getattr(one, name), getattr(wanted, name), f"{name} of target {target} among others")
        expect(repr(one.target) == repr(wanted.target), f"target {wanted.target}", one.target)
        spent, alone = one.provenance.forward, wanted.provenance.forward
        expect(spent == alone or getattr(p.method, "tol", None) is not None, f"{alone} model rows for all", spent)
    for wrong, words in (
        ([0, 3], "from 0 to 2"),
        ([], "a sequence of targets"),
        (1, "a sequence"),
        ([1, None], "None"),
    ):
        expect_raises(TargetError, words, partial(p.method.explain, model, x, wrong, multi_target=True))


def _second(outputs: Tensor) -> Tensor:
    return outputs[:, 1]


def _wrong_targets(p: _Place) -> None:
    if p.method.neuron is not None:
        return
    wrong: tuple[tuple[Any, str], ...] = (
        (3, "from 0 to 2"), (-1, "from 0 to 2"), ([0, 1, 2, 3, 0], "sample 3"), ((1, 1), "2 indices"), ([0, 1], "5"),
        ("cat", "'cat'"), (1.5, "1.5"), (lambda out: out, "callable's score"),
    )  # fmt: skip
    for target, words in wrong:
        expect_raises(TargetError, words, partial(p.explain, target=target))


# -- closed forms ------------------------------------------------------------------------------------------------
def _linear(p: _Place) -> None:
    fn, weights = nets.linear(p.ops, p.dtype, p.shape)
    try:
        e = p.explain(target=None, model=p.wrapped(fn))
    except CoverageError:
        # backward rules refuse a model that has no operation for them
        return
    found = p.ops.to_numpy(e.attributions).astype(np.float64)
    p.close(e.score, p.tensor((p.host * weights).reshape(BATCH, -1).sum(1).astype(p.dtype) + 0.5), "the score")
    if p.method.needs_gradient:
        unused = found[:, weights == 0]
        expect(not unused.any(), "no attribution to features without weight", unused[unused != 0][:4])
    if e.delta is None:
        return
    score, base, delta = (p.ops.to_numpy(v).astype(np.float64) for v in (e.score, e.baseline_score, e.delta))
    total = found.reshape(BATCH, -1).sum(axis=1) if e.features is None else np.nansum(e.features.values, axis=1)
    scale = np.abs(found).sum() + np.abs(score).max()
    expect_close(delta + scale, total - (score - base) + scale, p.tolerance, "delta (with the scale added)")
    error = 0.0 if e.std_error is None else np.abs(p.ops.to_numpy(e.std_error)).reshape(BATCH, -1).sum(axis=1)
    allowed = 6 * error + p.tolerance * scale
    expect(bool((np.abs(delta) <= allowed).all()), "completeness on a linear model", delta)


# -- inputs of several tensors -----------------------------------------------------------------------------------
def _several_inputs(p: _Place) -> None:
    other = p.tensor(values(BATCH, *p.shape, dtype=p.dtype, seed=23))
    forms: tuple[Any, ...] = ((p.x, other), [p.x, other], {"first": p.x, "second": other})
    wanted: list[Tensor] = []
    for inputs in forms:
        found = p.explain(inputs, model=p.pair_model).attributions
        kind = type(inputs)
        expect(type(found) is kind and len(found) == 2, f"a {kind.__name__} of two", type(found).__name__)
        if isinstance(inputs, dict):
            expect(list(found) == list(inputs), f"the keys {list(inputs)}", list(found))
        leaves = list(found.values()) if isinstance(found, dict) else list(found)
        wanted = wanted or leaves
        for i, (leaf, first) in enumerate(zip(leaves, wanted, strict=True)):
            expect(p.ops.shape(leaf) == p.ops.shape(p.x), f"input {i} of shape {p.ops.shape(p.x)}", p.ops.shape(leaf))
            p.close(leaf, first, f"attributions of input {i} in a {type(inputs).__name__}")


def _whole_numbers(p: _Place) -> None:
    ids = p.tensor(np.arange(BATCH * int(np.prod(p.shape))).reshape(BATCH, *p.shape) % 3)
    found = p.explain((p.x, ids), model=p.pair_model).attributions
    if p.method.attributes_whole_numbers:
        expect(p.ops.shape(found[1]) == p.ops.shape(ids), "attributions of whole numbers", p.ops.shape(found[1]))
        expect(p.ops.dtype(found[1]) == p.dtype, f"attributions of {p.dtype}", p.ops.dtype(found[1]))
    else:
        expect(found[1] is None, "None for an input of whole numbers", found[1])
    expect(p.ops.shape(found[0]) == p.ops.shape(p.x), "attributions of the other", p.ops.shape(found[0]))
    other = p.explain((p.x, ids * 0), model=p.pair_model).attributions
    same = np.array_equal(p.ops.to_numpy(other[0]), p.ops.to_numpy(found[0]))
    expect(not same, "the held input to matter", "the same attributions for other whole numbers")
    single = p.explain((p.x, ids), model=p.pair_model, batch_size=2).attributions
    p.close(single[0], found[0], "attributions with batch_size=2")


# -- what is refused -----------------------------------------------------------------------------------------------
def _bad_numbers(p: _Place) -> None:
    for bad in (np.nan, np.inf, -np.inf):
        x = np.array(p.host)
        x[3].flat[0] = bad
        expect_raises(NonFiniteError, "sample 3", partial(p.explain, p.tensor(x)))
    x = np.array(p.host)
    x[2] = 0
    ops, dtype = p.ops, p.dtype
    weights = values(int(np.prod(p.shape)), 1, dtype=dtype)
    native = ops.asarray(weights)

    def dividing(x: Tensor) -> Tensor:
        squares = ops.maximum(nets.flat(x) ** 2, ops.zeros_like(nets.flat(x)))
        rows = ops.matmul(squares, ops.ones_like(native))
        return (1 / rows)[:, 0]

    with np.errstate(all="ignore"):
        expect_raises(NonFiniteError, "sample", lambda: p.explain(p.tensor(x), None, model=p.wrapped(dividing)))


def _bad_calls(p: _Place) -> None:
    expect_raises(ShapeError, "empty batch", lambda: p.explain(p.tensor(p.host[:0])))
    for size in (0, -1, 1.5):
        expect_raises(ParameterError, "batch_size", partial(p.explain, batch_size=size))
    ragged = (p.x, p.tensor(p.host[:2]))
    expect_raises(ShapeError, "same number", lambda: p.explain(ragged, model=p.pair_model))


class _FailureError(RuntimeError):
    pass


def _failing_model(p: _Place) -> None:
    plain, broken = nets.classifier(p.ops, p.dtype, p.shape), [True]

    def model(x: Tensor) -> Tensor:
        if broken[0]:
            raise _FailureError("the model's own error")
        return plain(x)

    adapted, before = p.wrapped(model), dict(vars(model))
    expect_raises(_FailureError, "the model's own error", lambda: p.explain(model=adapted))
    broken[0] = False
    wanted = p.explain(model=p.wrapped(plain)).attributions
    p.close(p.explain(model=adapted).attributions, wanted, "attributions after an exception")
    expect(dict(vars(model)) == before, "nothing left on the user's function", vars(model))


def _agreement(first: _Place, second: _Place) -> None:
    a, b = first.usual.numpy(), second.usual.numpy()
    for name in ("attributions", "score", "baseline_score", "std_error"):
        wanted, found = getattr(a, name), getattr(b, name)
        expect((found is None) == (wanted is None), f"{name} on both or none", (wanted, found))
        if wanted is not None:
            expect_close(found, wanted, AGREEMENT[first.dtype], f"{name} of {second} as of {first}")


def _black_box(method: Method, shape: tuple[int, ...]) -> None:
    numpy = backend_named("numpy")
    model, x = nets.classifier(numpy.ops, "float64", shape), np.zeros((2, *shape))
    expect_raises(CapabilityError, "black box", lambda: method.explain(model, x, 1))


_CHECKS: dict[str, Callable[[_Place], None]] = {
    "like the input": _like_the_input,
    "provenance": _provenance,
    "save and load": _kept,
    "repeatable": _repeatable,
    "batch size": _batch_size,
    "neighbours": _neighbours,
    "user's inputs": _user_data,
    "NumPy in, NumPy out": _numpy_arrays,
    "global random state": _global_state,
    "forms of target": _targets,
    "several targets": _several_targets,
    "wrong targets": _wrong_targets,
    "linear model": _linear,
    "several inputs": _several_inputs,
    "whole numbers": _whole_numbers,
    "NaN and infinity": _bad_numbers,
    "bad calls": _bad_calls,
    "failing model": _failing_model,
}
_SCORED = (_targets, _several_targets, _wrong_targets)
_AT_INPUTS = (_linear, _several_inputs, _whole_numbers, _bad_numbers, _bad_calls, _failing_model)
