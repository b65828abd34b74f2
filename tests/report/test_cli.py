"""The command line in processes of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import whence
from whence.cli import main

FRAMEWORKS = ("torch", "jax", "tensorflow", "keras", "flax")


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "whence", *arguments], capture_output=True, text=True, check=False)


def test_methods_lists_every_method_with_its_class_and_source() -> None:
    done = command("methods")
    assert done.returncode == 0 and not done.stderr
    names = [line.split()[0] for line in done.stdout.splitlines() if line and not line.startswith(" ")]
    assert names == list(whence.methods())
    assert "(IntegratedGradients)" in done.stdout and "arXiv 1703.01365" in done.stdout
    assert done.stdout.count("Source: ") == len(names), "every method names its source"


def test_info_shows_versions() -> None:
    done = command("info")
    assert done.returncode == 0 and not done.stderr
    shown = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert shown["python"] == ".".join(map(str, sys.version_info[:3])) and "GPU" in shown
    assert set(FRAMEWORKS) <= set(shown)


@pytest.mark.parametrize("name", ["info", "methods"])
def test_no_framework_is_imported_that_is_not_asked(name: str) -> None:
    code = (
        f"import sys; from whence.cli import main; assert main([{name!r}]) == 0; "
        f"print('loaded', [m for m in {(*FRAMEWORKS, 'matplotlib', 'sklearn')!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded []"


def test_a_wrong_name_is_an_error_that_says_what_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    assert main(["demo", "--out", str(page), "--methods", "salience"]) == 2
    assert "saliency" in capsys.readouterr().err
    assert main(["demo", "--out", str(page), "--frameworks", "pytorch"]) == 2
    assert "torch" in capsys.readouterr().err
    assert not page.exists()


def test_without_a_command_the_use_is_shown() -> None:
    done = command()
    assert done.returncode == 2 and "demo" in done.stderr
