"""Run the Python code of one page: ``python -m tests.docs.run_page docs/start/torch.md``, in a process of its own."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.docs.pages import Page

KNOWN = ("torch", "jax", "tensorflow", "keras")


def run(page: Page) -> dict[str, Any]:
    """The namespace after the page's blocks have run, in a folder of their own."""
    module = ModuleType(f"page_{page.path.stem}")
    sys.modules[module.__name__] = module  # where dataclasses look their annotations up
    namespace = vars(module)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for line, code in page.blocks:
            exec(compile("\n" * (line - 1) + code, str(page.path), "exec"), namespace)
        os.chdir("/")
    return namespace


def prepare(frameworks: tuple[str, ...]) -> None:
    """Keras on the runtime that the page asks for."""
    for name in frameworks:
        if name.startswith("keras["):
            os.environ["KERAS_BACKEND"] = name[6:-1]


BRINGS = {"tensorflow": {"keras", "jax"}, "keras": {"tensorflow", "jax"}}
"""Frameworks that others import by themselves."""


def undeclared(frameworks: tuple[str, ...]) -> list[str]:
    """Frameworks that were imported although the page does not say so."""
    allowed = {part for name in frameworks for part in name.rstrip("]").split("[")}
    allowed |= {other for name in allowed for other in BRINGS.get(name, ())}
    return [name for name in KNOWN if name in sys.modules and name not in allowed]


def main(path: Path) -> None:
    page = Page(path)
    frameworks = page.frameworks
    assert frameworks is not None, f"{page} has code and does not say which frameworks it needs"
    prepare(frameworks)
    namespace = run(page)
    extra = undeclared(frameworks)
    assert not extra, f"{page} imports {', '.join(extra)} and does not say so"
    for message in namespace.get("messages", ()):
        assert message in page.text.replace("\\|", "|"), f"{page} does not show the message:\n{message}"


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
