"""The demonstration from end to end, small: three digits, two methods, the frameworks that can be imported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.report.test_html import self_contained
from whence.report.frameworks import known


def demo(page: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, which imports the frameworks in the order that they need."""
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    command = [sys.executable, "-m", "whence", "demo", "--out", str(page), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.slow
def test_all_frameworks_agree_on_a_page_that_is_self_contained(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = demo(page, "--digits", "5", "--methods", "saliency", "integrated_gradients")
    assert done.returncode == 0, done.stdout + done.stderr
    installed = [framework for framework in known() if framework.installed]
    text = page.read_text(encoding="utf-8")
    found = self_contained(text)
    digits, cases, distinct = 5, 6, len(installed) + 1
    assert len(found.loaded) > digits * cases * (1 + distinct)
    assert {"maps", "numbers", "methods", "making"} <= found.anchors
    assert str(page) in done.stdout and "at layer conv2" in done.stdout
    if len(installed) > 1:
        assert "Every promise is kept." in done.stdout and "as promised" in text and "frameworks" in found.anchors


@pytest.mark.slow
@pytest.mark.parametrize("framework", [f for f in known() if f.installed], ids=lambda f: f.name)
def test_one_framework_alone_trains_and_explains(tmp_path: Path, framework: object) -> None:
    page = tmp_path / "page.html"
    done = demo(page, "--digits", "2", "--methods", "saliency", "--frameworks", framework.name)  # type: ignore[attr-defined]
    assert done.returncode == 0, done.stdout + done.stderr
    accuracy = float(re.search(r"([\d.]+)% of 899 others right", done.stdout)[1])  # type: ignore[index]
    assert accuracy > 90
    self_contained(page.read_text(encoding="utf-8"))
