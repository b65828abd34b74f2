"""Calls of every tensor operation that must give on each framework what they give on NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
from einops import einsum, rearrange, reduce, repeat

from whence.core.ops import Ops

Case = tuple[str, Callable[..., Any], tuple[np.ndarray, ...]]
"""What is called in words, ``call(ops, *tensors)``, and the tensors' values."""


def values(*shape: int, dtype: str = "float64", seed: int = 0) -> np.ndarray:
    """Normal values that float32 holds exactly; read-only, as arrays mapped from files are."""
    array = np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32).astype(dtype)
    array.setflags(write=False)
    return array


def constant(*numbers: Any, dtype: str) -> np.ndarray:
    """A read-only array of the given numbers."""
    array = np.array(numbers, dtype)
    array.setflags(write=False)
    return array


def cases(dtype: str) -> Iterator[tuple[str, list[Case]]]:
    """The cases of each operation."""
    yield from _elementwise(dtype)
    yield from _reductions(dtype)
    yield from _selections(dtype)
    yield from _shapes(dtype)
    yield from _products(dtype)
    yield from _native(dtype)


def _elementwise(dtype: str) -> Iterator[tuple[str, list[Case]]]:
    x, y = values(3, 4, dtype=dtype), values(3, 4, dtype=dtype, seed=1)
    positive, scalar = np.abs(x) + np.float32(0.1), values(dtype=dtype)
    small = x * np.finfo(dtype).eps
    edge = constant(-np.inf, -1, -0.0, 0, 1, np.inf, dtype=dtype)
    odd = constant(-np.inf, 0, np.nan, 2, np.inf, dtype=dtype)
    for name, inputs in {
        "abs": (x, scalar, edge, odd), "sign": (x, scalar, edge), "exp": (x, scalar, edge, odd),
        "log": (positive, edge[2:]), "sqrt": (positive, edge[2:]), "tanh": (x, scalar, edge, odd),
        "expm1": (x, small, scalar, edge, odd), "isfinite": (x, edge, odd),
    }.items():  # fmt: skip
        yield name, [(f"{name} of shape {a.shape}", _named(name), (a,)) for a in inputs]
    others = {"the same shape": y, "one row": y[0], "one column": y[:, :1], "no axes": scalar}
    for name in ("maximum", "minimum"):
        yield name, [(f"{name} with {how}", _named(name), (x, other)) for how, other in others.items()]
    bounds = ((-0.5, 0.5), (0.0, None), (None, 0.0), (None, None))
    found: list[Case] = [(f"clip to {b}", lambda ops, x, b=b: ops.clip(x, *b), (x,)) for b in bounds[:3]]
    found += [(f"clip(min={b[0]}, max={b[1]})", lambda ops, x, b=b: ops.clip(x, min=b[0], max=b[1]), (x,))
              for b in bounds[:3]]  # fmt: skip
    found.append(("clip of whole numbers", lambda ops, i: ops.clip(i, 0, 2), (constant(-3, 1, 7, dtype="int64"),)))
    yield "clip", found
    wide = constant([True], [False], [True], dtype="bool")
    yield (
        "where",
        [
            ("where of one shape", lambda ops, x, y: ops.where(x > y, x, y), (x, y)),
            ("where with a condition per row", lambda ops, c, x, y: ops.where(c, x, y), (wide, x, y)),
            ("where with a number", lambda ops, x, y: ops.where(x > y, x, 1.5), (x, y)),
            ("where with a number first", lambda ops, x, y: ops.where(x > y, -2.0, y), (x, y)),
            ("where with a value per column", lambda ops, c, x, y: ops.where(c, x, y), (wide, x, y[0])),
        ],
    )
    some = np.where(x > 0, x, np.zeros_like(x))
    yield (
        "where_zero",
        [
            (f"where_zero of {how}", lambda ops, x, y: ops.where_zero(x, lambda: y, x * x), (a, y[: len(a)]))
            for how, a in {"some zeros": some, "no zeros": x, "signed zeros": -some, "nothing": x[:0]}.items()
        ],
    )


def _reductions(dtype: str) -> Iterator[tuple[str, list[Case]]]:
    x = values(3, 4, 5, dtype=dtype)
    shifted = x + np.float32(2)
    axes = (None, 0, 1, -1, (0,), (1, 2), (0, -1), (-2, -1), (0, 1, 2))
    for name in ("sum", "mean", "max", "min"):
        found: list[Case] = [
            (f"{name}(axis={axis}, keepdims={keep})",
             lambda ops, x, n=name, a=axis, k=keep: getattr(ops, n)(x, axis=a, keepdims=k), (shifted,))
            for axis, keep in product(axes, (False, True))
        ]  # fmt: skip
        yield name, [*found, (f"{name} by default", _named(name), (shifted,))]
    truth = constant([[True, False], [True, True]], [[False, False], [True, False]], dtype="bool")
    for name in ("any", "all"):
        yield name, [
            (f"{name}(axis={axis}, keepdims={keep})",
             lambda ops, x, n=name, a=axis, k=keep: getattr(ops, n)(x, axis=a, keepdims=k), (truth,))
            for axis, keep in product((None, 0, -1, (1, 2), (0, -1)), (False, True))
        ]  # fmt: skip
    ties = np.round(values(4, 600, dtype=dtype, seed=2))
    equal = np.zeros((3, 1000), dtype)
    yield "argmax", [
        (f"argmax(axis={axis}, keepdims={keep}) of {how}",
         lambda ops, x, a=axis, k=keep: ops.argmax(x, axis=a, keepdims=k), (a,))
        for (how, a), axis, keep in product({"values": x, "ties": ties, "equals": equal}.items(), (0, 1, -1),
                                            (False, True))
    ]  # fmt: skip
    orders: list[Case] = [
        (f"argsort(axis={axis}, descending={down}) of {how}",
         lambda ops, x, a=axis, d=down: ops.argsort(x, axis=a, descending=d), (a,))
        for (how, a), axis, down in product({"values": x, "ties": ties, "equals": equal}.items(), (0, 1, -1),
                                            (False, True))
    ]  # fmt: skip
    yield "argsort", [*orders, ("argsort by default", lambda ops, x: ops.argsort(x), (x,))]
    yield (
        "cumulative_sum",
        [
            (f"cumulative_sum(axis={axis})", lambda ops, x, a=axis: ops.cumulative_sum(x, axis=a), (x,))
            for axis in (0, 1, -1)
        ],
    )


def _selections(dtype: str) -> Iterator[tuple[str, list[Case]]]:
    x = values(3, 4, 5, dtype=dtype)
    found: list[Case] = []
    for axis, kind in product((0, 1, -1), ("int32", "int64")):
        rows = constant(2, 0, 0, 1, 2, dtype=kind)
        found.append((f"take(axis={axis}) at {kind}", lambda ops, x, i, a=axis: ops.take(x, i, axis=a), (x, rows)))
    found.append(("take by default", lambda ops, x, i: ops.take(x, i), (x, constant(1, 1, dtype="int64"))))
    yield "take", found
    found = []
    for axis in (0, 1, -1):
        order = np.argsort(x, axis=axis)
        first = np.take(order, np.arange(2), axis=axis)
        for how, index in (("an order", order), ("a part of it", first)):
            found.append((f"take_along_axis(axis={axis}) at {how}",
                          lambda ops, x, i, a=axis: ops.take_along_axis(x, i, axis=a), (x, index)))  # fmt: skip
    yield "take_along_axis", found


def _shapes(dtype: str) -> Iterator[tuple[str, list[Case]]]:
    x, y = values(3, 4, dtype=dtype), values(3, 4, dtype=dtype, seed=1)
    image = values(2, 3, 4, 5, dtype=dtype)
    ids = constant([1, 2], [3, 4], dtype="int64")
    for name in ("concat", "stack"):
        found: list[Case] = [
            (f"{name}(axis={axis})", lambda ops, *xs, n=name, a=axis: getattr(ops, n)(list(xs), axis=a), (x, y, x))
            for axis in (0, 1, -1)
        ]
        found.append((f"{name} of a tuple", lambda ops, *xs, n=name: getattr(ops, n)(tuple(xs)), (x, y)))
        found.append((f"{name} of one", lambda ops, *xs, n=name: getattr(ops, n)([xs[0]]), (x,)))
        yield name, [*found, (f"{name} of whole numbers", lambda ops, i, n=name: getattr(ops, n)([i, i]), (ids,))]
    shapes = (((1, 4), (3, 4)), ((4,), (3, 4)), ((), (2, 3)), ((3, 1, 2), (3, 5, 2)), ((3, 4), (3, 4)))
    yield (
        "broadcast_to",
        [
            (f"broadcast_to {old} to {new}", lambda ops, x, s=new: ops.broadcast_to(x, s), (values(*old, dtype=dtype),))
            for old, new in shapes
        ],
    )
    yield (
        "pad",
        [
            (f"pad {w} with {v}", lambda ops, x, w=w, v=v: ops.pad(x, w, value=v), (a,))
            for a, w in ((x[0], [(1, 2)]), (x, [(0, 3), (2, 0)]), (image, [(0, 0), (1, 0), (2, 3), (0, 4)]))
            for v in (0.0, -2.5)
        ],
    )
    yield "zeros_like", [("zeros_like", _named("zeros_like"), (x,)), ("of whole numbers", _named("zeros_like"), (ids,))]
    yield "ones_like", [("ones_like", _named("ones_like"), (x,)), ("of whole numbers", _named("ones_like"), (ids,))]
    yield "full_like", [("full_like", lambda ops, x: ops.full_like(x, -1.5), (x,)),
                        ("of no axes", lambda ops, x: ops.full_like(x, 2), (values(dtype=dtype),))]  # fmt: skip
    yield "astype", [
        (f"astype {old} to {new}", lambda ops, x, d=new: ops.astype(x, d), (np.array([[0, 1], [2, 3]]).astype(old),))
        for old, new in product((dtype, "int32", "bool"), (dtype, "int32"))
    ]  # fmt: skip
    yield "stop_gradient", [("stop_gradient", _named("stop_gradient"), (x,))]


def _products(dtype: str) -> Iterator[tuple[str, list[Case]]]:
    shapes = (((3, 4), (4, 5)), ((2, 3, 4), (4, 5)), ((2, 1, 3, 4), (5, 4, 2)))
    yield (
        "matmul",
        [
            (f"matmul {a} by {b}", _named("matmul"), (values(*a, dtype=dtype), values(*b, dtype=dtype, seed=1)))
            for a, b in shapes
        ],
    )
    image = values(2, 3, 4, 5, dtype=dtype)
    sizes = (((8, 9), (2, 3)), ((2, 3), (2, 3)), ((1, 1), (-2, -1)), ((7, 2), (1, 2)), ((4, 5), (2, 3)), ((6,), (-1,)))
    found: list[Case] = [
        (f"resize axes {axes} to {size}, {method}",
         lambda ops, x, s=size, a=axes, m=method: ops.resize(x, s, axes=a, method=m), (image,))
        for (size, axes), method in product(sizes, ("bilinear", "nearest"))
    ]  # fmt: skip
    yield "resize", [*found, ("resize by default", lambda ops, x: ops.resize(x, (3, 3), axes=(2, 3)), (image,))]
    yield (
        "apply_along_axis",
        [
            (f"apply_along_axis {axis}", lambda ops, m, x, a=axis: ops.apply_along_axis(m, x, a), (matrix, image))
            for axis, matrix in ((1, values(2, 3, dtype=dtype)), (-1, values(6, 5, dtype=dtype)))
        ],
    )
    weighted: list[Case] = [
        (f"weighted_sum {x.shape}", lambda ops, w, x: ops.weighted_sum(w, x), (values(len(x), dtype=dtype), x))
        for x in (image, values(3, dtype=dtype), values(1, 4, dtype=dtype))
    ]
    yield "weighted_sum", weighted


def _native(dtype: str) -> Iterator[tuple[str, list[Case]]]:
    x, y, z = values(3, 4, dtype=dtype), values(3, 4, dtype=dtype, seed=1), values(2, 3, 4, dtype=dtype)
    yield (
        "native arithmetic",
        [
            ("+ - * / of tensors", lambda ops, x, y: (x + y) * (x - y) / y, (x, y)),
            ("Python numbers", lambda ops, x: 2.5 * x - x / 3 + (1 - x) + 2 / x, (x,)),
            ("** 2", lambda ops, x: x**2, (x,)),
            ("minus x", lambda ops, x: -x, (x,)),
            ("broadcasting", lambda ops, x, y: x[None] * y, (x, z)),
        ],
    )
    yield (
        "native comparison",
        [
            ("x > y", lambda ops, x, y: x > y, (x, y)),
            ("x <= 0", lambda ops, x: x <= 0, (x,)),
            ("x != 0", lambda ops, x: x != 0, (constant(0, -0.0, 1, dtype=dtype),)),
            ("x == y", lambda ops, x, y: x == y, (x, x)),
        ],
    )
    yield (
        "native slicing",
        [
            ("x[1:]", lambda ops, x: x[1:], (x,)),
            ("x[0]", lambda ops, x: x[0], (x,)),
            ("x[:, None]", lambda ops, x: x[:, None], (x,)),
            ("x[..., 1]", lambda ops, x: x[..., 1], (z,)),
            ("x[:2, :1]", lambda ops, x: x[:2, :1], (z,)),
            ("x[..., None, None]", lambda ops, x: x[..., None, None], (x,)),
            ("x[:, 1, 2]", lambda ops, x: x[(slice(None), 1, 2)], (z,)),
            ("x[:, ::2]", lambda ops, x: x[:, ::2], (x,)),
        ],
    )
    yield (
        "einops",
        [
            ("rearrange", lambda ops, x: rearrange(x, "a b c -> c (a b)"), (z,)),
            ("repeat", lambda ops, x: repeat(x, "a b -> (k a) b", k=3), (x,)),
            ("reduce", lambda ops, x: reduce(x, "a b c -> b", "sum"), (z,)),
            ("einsum", lambda ops, x, z: einsum(x, z, "b c, a b c -> a c"), (x, z)),
        ],
    )


def _named(name: str) -> Callable[..., Any]:
    def call(ops: Ops, *xs: Any) -> Any:
        return getattr(ops, name)(*xs)

    return call
