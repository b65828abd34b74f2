"""The section on models without gradients: tables, sentences and a photograph, explained for real."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest

import whence
from whence.report.sections import black_boxes


def results(names: tuple[str, ...]) -> Any:
    return SimpleNamespace(cases=[SimpleNamespace(name=name) for name in names])


@pytest.mark.slow
def test_black_boxes_are_explained() -> None:
    section = black_boxes.section(results(whence.methods()), [])
    assert section is not None
    text = section.html()
    assert "Anchor: " in text and "KernelSHAP" in text and "is about wine" in text
    assert len(re.findall("<img", text)) == 3
    values = [float(v) for v in re.findall(r'class="number">([+-][0-9.]+)<', text)]
    assert len(values) >= 15 and any(abs(v) > 0.05 for v in values)


def test_a_page_about_named_methods_has_no_such_section() -> None:
    assert black_boxes.section(results(("saliency",)), []) is None
