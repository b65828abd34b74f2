"""The documentation is true: its code runs, method pages name every field, the how-tos keep their word."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

import pytest

import whence
from tests.docs.pages import DOCS, FRAMEWORKS, ROOT, Page, pages
from whence.core.registry import method_class

WITH_CODE = [page for page in pages() if page.blocks]
SHARED_FIELDS = ("layer", "neuron")
IMPORTS = {
    "torch": "import torch",
    "jax": "import jax; jax.config.update('jax_enable_x64', True)",
    "tensorflow": "import tensorflow",
}
"""PyTorch first: the other order can end the interpreter."""


def in_own_process(*arguments: str, **environment: str) -> None:
    """Run ``python -m ...`` from the repository root; its output is the failure's message."""
    own = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "MPLBACKEND": "Agg", **environment}
    own.pop("KERAS_BACKEND", None)
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, env=own, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}"


def require(frameworks: tuple[str, ...]) -> None:
    """Skip where a framework of the page is not installed."""
    for name in frameworks:
        for module in name.rstrip("]").split("["):
            if find_spec(module) is None:
                pytest.skip(f"{module} is not installed")


# -- every page ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("page", WITH_CODE, ids=str)
def test_the_code_of_a_page_runs(page: Page) -> None:
    assert page.frameworks is not None, "a page with code says which frameworks it needs, or none"
    assert set(page.frameworks) <= set(FRAMEWORKS)
    require(page.frameworks)
    in_own_process("tests.docs.run_page", str(page.path))


@pytest.mark.parametrize("page", pages(), ids=str)
def test_blocks_are_of_known_kinds(page: Page) -> None:
    opened = [line for line in page.text.splitlines() if line.startswith("```") and line != "```"]
    kinds = {line[3:].split()[0] for line in opened}
    assert kinds <= {"python", "text", "console", "toml", "json"}, kinds
    assert page.text.count("\n```") % 2 == 0, "a block that is not closed"


def test_a_page_that_is_wrong_fails(tmp_path: Path) -> None:
    """The runner itself: a false assertion, an undeclared framework and a message that the page lacks are found."""
    for text in (
        "<!-- frameworks: none -->\n```python\nassert 1 == 2\n```\n",
        "<!-- frameworks: none -->\n```python\nimport torch\n```\n",
        "<!-- frameworks: none -->\n```python\nmessages = ['not' + ' there']\n```\n",
        "```python\nx = 1\n```\n",
    ):
        (tmp_path / "page.md").write_text(text)
        with pytest.raises(AssertionError):
            in_own_process("tests.docs.run_page", str(tmp_path / "page.md"))
    (tmp_path / "page.md").write_text(
        "<!-- frameworks: none -->\n```python\nx = 1\n```\n\n<!-- python\nassert x == 1\n-->\n"
    )
    in_own_process("tests.docs.run_page", str(tmp_path / "page.md"))


# -- what the pages cover ------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", whence.methods())
def test_a_page_per_method_names_every_field(name: str) -> None:
    text = (DOCS / "methods" / f"{name}.md").read_text()
    cls = method_class(name)
    assert f"# {cls.__name__}" in text
    for field in fields(cls):
        if field.init and field.name not in SHARED_FIELDS:
            rows = [line for line in text.splitlines() if line.startswith(f"| `{field.name}` |")]
            assert rows, f"{field.name} has no row in the table of fields"
            default = repr(field.default_factory() if callable(field.default_factory) else field.default)
            assert f"`{default}`".replace("'", '"') in rows[0], f"{default} is not in: {rows[0]}"
    for word in ("## Source", "## Shapes", "## Completeness", "## Cost", "## Pitfalls"):
        assert word in text, f"no section {word}"


def test_the_readme_and_the_overview_list_every_method() -> None:
    for path in (ROOT / "README.md", DOCS / "methods" / "index.md"):
        text = path.read_text()
        assert not [name for name in whence.methods() if f"`{name}`" not in text]


def test_the_errors_page_names_every_error() -> None:
    text = (DOCS / "guide" / "errors.md").read_text()
    assert not [name for name in whence.errors.__all__ if name not in text]


def test_the_glossary_has_the_shared_fields() -> None:
    text = (DOCS / "glossary.md").read_text()
    shared = {"baseline", "target", "layer", "neuron", "batch_size", "seed", "n_steps", "n_samples", "stdev"}
    assert not [name for name in shared if f"`{name}`" not in text]


def test_the_picture_is_small() -> None:
    assert (DOCS / "assets" / "digits.png").stat().st_size < 150_000


def test_every_page_is_in_the_navigation() -> None:
    configuration = (ROOT / "mkdocs.yml").read_text()
    names = [str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")]
    assert not [name for name in names if name not in configuration]


def test_links_of_the_readme_exist() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", Page(ROOT / "README.md").text)
    assert links and not [link for link in links if not (ROOT / link).exists()]


# -- the how-tos -----------------------------------------------------------------------------------------------
def shown(name: str) -> str:
    """The first block of a how-to page: what the reader is to write."""
    return Page(DOCS / "howto" / f"{name}.md").blocks[0][1]


def test_the_method_is_under_forty_lines() -> None:
    lines = [line for line in shown("method").splitlines() if line.strip()]
    assert len(lines) < 40, len(lines)


@pytest.mark.slow
def test_the_method_keeps_the_contract_on_all_frameworks(tmp_path: Path) -> None:
    """In one process, so that the frameworks are compared with each other as well."""
    (tmp_path / "blur_ig.py").write_text(shown("method"))
    imports = [line for module, line in IMPORTS.items() if find_spec(module) is not None]
    (tmp_path / "check_it.py").write_text(
        "\n".join(imports) + "\n"
        "from blur_ig import BlurIntegratedGradients\nfrom whence.testing import check_method\n"
        "check_method(BlurIntegratedGradients(sigma=2.0, n_steps=3), shape=(6, 6, 2), layout='NHWC')\n"
    )
    in_own_process("check_it", PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]))


def test_the_backend_page_checks_its_backend() -> None:
    """The page runs with the others; here is made sure that nobody takes its check away, or skips parts of it."""
    assert "\ncheck_backend(backend)\n" in "".join(code for _, code in Page(DOCS / "howto" / "backend.md").blocks)
