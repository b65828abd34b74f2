"""Core and methods know no framework: read off their source, and the reader itself is tested."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import whence

ROOT = Path(whence.__file__).parent
METHODS = sorted((ROOT / "methods").rglob("*.py"))
CORE = sorted((ROOT / "core").rglob("*.py"))
FRAMEWORKS = {"torch", "jax", "jaxlib", "flax", "equinox", "tensorflow", "keras"}
BACKENDS = {"torch", "jax", "tensorflow", "numpy"}
# names of backends may be spoken where the backend is chosen and where the user's arrays come in and go out
MAY_NAME_BACKENDS = {"core/backend.py", "core/method.py"}
TENSOR_ONLY = {
    "detach", "cpu", "cuda", "numpy", "requires_grad", "requires_grad_", "backward", "grad", "unsqueeze", "permute",
    "contiguous", "clone", "view", "block_until_ready", "assign", "masked_fill",
}  # fmt: skip
"""What only some framework's tensors have."""
MAY_READ_TENSORS = {"core/baselines.py", "core/scores.py", "core/target.py", "core/method.py", "core/explanation.py"}
"""Where a user's tensor of any framework becomes an array."""
HOST = {"to_numpy", "shape", "dtype", "device", "is_floating", "free_memory", "matmul_precision", "is_tensor",
        "is_out_of_memory"}  # fmt: skip
"""Operations whose result lives on the host."""


def complaints(source: str, where: str) -> Iterator[str]:
    """What a file of ``core`` or ``methods`` must not do, as ``line: what``."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        for module in _imported(node):
            if module.split(".")[0] in FRAMEWORKS:
                yield f"{line}: imports {module}"
            upward = ("whence.methods",) if where.startswith("core/") else ()
            if module.startswith(("whence.backends", *upward)):
                yield f"{line}: imports {module}"
        if isinstance(node, ast.Constant) and node.value in BACKENDS and where not in MAY_NAME_BACKENDS:
            yield f"{line}: names the backend {node.value!r}"
        if isinstance(node, ast.Attribute) and node.attr in TENSOR_ONLY and where not in MAY_READ_TENSORS:
            yield f"{line}: .{node.attr}"
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute) and node.value.attr == "at":
            yield f"{line}: .at"
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            yield from _in_function(node)


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


def _in_function(function: ast.FunctionDef | ast.Lambda) -> Iterator[str]:
    """Methods of tensors, item assignment and ``if`` on names that hold tensors, as far as the function shows."""
    arguments = [*function.args.args, *function.args.kwonlyargs]
    tensors = {a.arg for a in arguments if isinstance(a.annotation, ast.Name) and a.annotation.id == "Tensor"}
    body = function.body if isinstance(function.body, list) else [function.body]
    nodes = [node for statement in body for node in ast.walk(statement)]
    for _ in range(3):
        for node in nodes:
            if isinstance(node, ast.Assign) and _is_tensor(node.value, tensors):
                tensors |= {t.id for t in node.targets if isinstance(t, ast.Name)}
    for node in nodes:
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_tensor(node.func.value, tensors):
            yield f"{line}: a tensor's own .{node.func.attr}()"
        written = getattr(node, "targets", [])
        written = [node.target] if isinstance(node, ast.AugAssign) else written
        if any(isinstance(t, ast.Subscript) and _is_tensor(t.value, tensors) for t in written):
            yield f"{line}: writes into a tensor"
        if isinstance(node, (ast.If, ast.IfExp, ast.While)) and _decides_on(node.test, tensors):
            yield f"{line}: if on a tensor"


def _is_tensor(node: ast.expr, tensors: set[str]) -> bool:
    """Whether an expression is a native tensor: a known name, an operation, arithmetic of these."""
    if isinstance(node, ast.Name):
        return node.id in tensors
    if isinstance(node, ast.BinOp):
        return _is_tensor(node.left, tensors) or _is_tensor(node.right, tensors)
    if isinstance(node, (ast.UnaryOp, ast.Subscript)):
        return _is_tensor(node.operand if isinstance(node, ast.UnaryOp) else node.value, tensors)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr not in HOST:
        owner = node.func.value
        is_ops = getattr(owner, "id", getattr(owner, "attr", None)) == "ops"
        return is_ops and node.func.attr not in ("vjp", "evaluate", "compile")
    return False


def _decides_on(test: ast.expr, tensors: set[str]) -> bool:
    if isinstance(test, ast.BoolOp):
        return any(_decides_on(value, tensors) for value in test.values)
    if isinstance(test, ast.UnaryOp):
        return _decides_on(test.operand, tensors)
    if isinstance(test, ast.Compare):
        if all(isinstance(op, (ast.Is, ast.IsNot, ast.In, ast.NotIn)) for op in test.ops):
            return False
        return any(_is_tensor(side, tensors) for side in (test.left, *test.comparators))
    return _is_tensor(test, tensors)


@pytest.mark.parametrize("path", CORE + METHODS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_framework_inside(path: Path) -> None:
    where = path.relative_to(ROOT).as_posix()
    assert not list(complaints(path.read_text(), where))


def test_there_is_something_to_read() -> None:
    assert len(CORE) > 15 and len(METHODS) >= 4


@pytest.mark.parametrize(("source", "words"), [
    ("import torch", "imports torch"),
    ("def f():\n    from jax import numpy", "imports jax"),
    ("from whence.backends.numpy import ops", "imports whence.backends.numpy"),
    ("if ops.name == 'torch': pass", "names the backend 'torch'"),
    ("def f(x: Tensor): return x.reshape(3)", "a tensor's own .reshape()"),
    ("def f(ops, a):\n    y = ops.abs(a)\n    return (y + 1).sum()", "a tensor's own .sum()"),
    ("def f(ops, a): return ops.exp(a)[0].mean()", "a tensor's own .mean()"),
    ("def f(ctx, a): return ctx.ops.exp(a).mean()", "a tensor's own .mean()"),
    ("def f(a): return a.detach()", ".detach"),
    ("def f(a): return a.at[0].set(1)", ".at"),
    ("def f(x: Tensor):\n    x[0] = 1", "writes into a tensor"),
    ("def f(ops, a):\n    y = ops.abs(a)\n    y[0] += 1", "writes into a tensor"),
    ("def f(x: Tensor):\n    if x > 0: return 1", "if on a tensor"),
    ("def f(ops, x: Tensor): return 1 if ops.any(x != 0) else 0", "if on a tensor"),
    ("def f(x: Tensor):\n    while not x.any() and x > 1: pass", "if on a tensor"),
])  # fmt: skip
def test_the_reader_sees(source: str, words: str) -> None:
    assert any(words in found for found in complaints(source, "methods/x.py"))


@pytest.mark.parametrize("source", [
    "import numpy as np\nfrom einops import rearrange",
    "def f(values: np.ndarray): return values.reshape(3).sum()",
    "def f(ops, x: Tensor):\n    v = ops.to_numpy(x)\n    v[0] = 1\n    return v.sum() if v.any() else 0",
    "def f(ops, x: Tensor):\n    if len(ops.shape(x)) > 1: return ops.sum(x * 2, axis=1)",
    "def f(x: Tensor | None, y: Tensor):\n    if x is None: return y[0]",
    '"""Runs on torch, jax and tensorflow."""',
    "def f(ops, x: Tensor): return bool(ops.to_numpy(ops.any(x != 0)))",
])  # fmt: skip
def test_the_reader_lets_pass(source: str) -> None:
    assert not list(complaints(source, "methods/x.py"))
