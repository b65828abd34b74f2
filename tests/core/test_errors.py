"""One form for every error: what was asked, what was received, what would be valid."""

from __future__ import annotations

import ast
import builtins
import inspect
import pickle
from pathlib import Path

import pytest

import whence
from whence.core import errors as core_errors
from whence.core.errors import WhenceError

ERRORS = [e for e in vars(core_errors).values() if inspect.isclass(e) and issubclass(e, WhenceError)]
BUILT_IN = {
    "ParameterError": ValueError, "TargetError": IndexError, "LayerError": LookupError, "ShapeError": ValueError,
    "DTypeError": TypeError, "BaselineError": ValueError, "CapabilityError": TypeError, "CoverageError": RuntimeError,
    "CompletenessError": ArithmeticError, "NonFiniteError": ArithmeticError, "BackendError": TypeError,
}  # fmt: skip
SOURCES = sorted(Path(whence.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: e.__name__)
def test_form(error: type[WhenceError]) -> None:
    made = error("target 7", received=[1, 2], valid="an int from 0 to 3")
    assert str(made) == "target 7. Received: [1, 2]. Valid: an int from 0 to 3."
    assert (made.asked, made.received, made.valid) == ("target 7", [1, 2], "an int from 0 to 3")
    assert error is WhenceError or issubclass(error, BUILT_IN[error.__name__])
    with pytest.raises(TypeError):
        error("a message in any form")


def test_all_are_public() -> None:
    mine = {n for n, c in vars(core_errors).items() if inspect.isclass(c) and issubclass(c, (WhenceError, Warning))}
    assert set(whence.errors.__all__) == mine
    assert set(BUILT_IN) == {e.__name__ for e in ERRORS} - {"WhenceError"}


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: e.__name__)
def test_errors_cross_processes(error: type[WhenceError]) -> None:
    made = error("a", received="b", valid="c")
    again = pickle.loads(pickle.dumps(made))
    assert type(again) is error and str(again) == str(made)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(Path(whence.__file__).parent).as_posix())
def test_no_other_errors_are_raised(path: Path) -> None:
    """Built-in exceptions have no form; those that stay are for the machinery, not for users."""
    allowed = {"AttributeError", "AssertionError", "SystemExit"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            name = node.exc.func.id
            assert not hasattr(builtins, name) or name in allowed, f"{path.name}:{node.lineno} raises {name}"
