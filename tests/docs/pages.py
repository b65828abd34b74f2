"""The pages of the documentation and the Python code on them.

A page that has code names the frameworks it imports in a comment, ``<!-- frameworks: torch -->``, or ``none``. Blocks
opened by three backticks and ``python`` run, in order and in one namespace; so do the ones inside a comment that
starts with ``<!-- python``, which readers do not see. A block that is not to run is marked ``text`` or ``console``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FRAMEWORKS = ("torch", "jax", "tensorflow", "keras[torch]", "keras[jax]", "keras[tensorflow]")
_BLOCK = re.compile(r"^(?:```python[^\n]*|<!-- python)\n(.*?)^(?:```|-->)[ ]*$", re.MULTILINE | re.DOTALL)
_DECLARED = re.compile(r"<!-- frameworks: ([^>]*) -->")


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))

    @cached_property
    def text(self) -> str:
        """The Markdown."""
        return self.path.read_text()

    @cached_property
    def blocks(self) -> list[tuple[int, str]]:
        """Code that runs, each block with the number of its first line."""
        return [(self.text.count("\n", 0, m.start(1)) + 1, m.group(1)) for m in _BLOCK.finditer(self.text)]

    @cached_property
    def frameworks(self) -> tuple[str, ...] | None:
        """What the page says that it imports, None where it says nothing."""
        declared = _DECLARED.search(self.text)
        if declared is None:
            return None
        return tuple(name for name in re.split(r"[,\s]+", declared.group(1)) if name and name != "none")


def pages() -> list[Page]:
    """The README and everything in docs."""
    return [Page(path) for path in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]]
