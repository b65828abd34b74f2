"""Markdown tables, printed and written to ``benchmarks/results``, under a head that says what was measured on what."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def head(title: str, command: str, packages: Sequence[str], settings: str) -> str:
    """Title, date, command, versions and machine."""
    versions = ", ".join(f"{name} {_version(name)}" for name in ("whence", *packages))
    return (
        f"# {title}\n\n"
        f"`python -m benchmarks {command}`, {datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, "
        f"{versions}, {platform.machine()} with {os.cpu_count()} cores.\n\n{settings}"
    )


def write(name: str, *parts: str) -> None:
    """Print the parts and keep them as ``benchmarks/results/<name>.md``."""
    text = "\n\n".join(parts) + "\n"
    print(text, flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "from source" if package == "whence" else "not installed"
