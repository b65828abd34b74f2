"""The sections of the demonstration's page, in order: functions from results and comparisons to a section.

A section that has nothing to show returns None. To add one, write a file here and name it below.
"""

from __future__ import annotations

from collections.abc import Callable

from whence.report.agreement import Comparison
from whence.report.html import Section
from whence.report.results import Results
from whence.report.sections import black_boxes, frameworks, layers, making, maps, methods, mistakes, numbers

Write = Callable[[Results, list[Comparison]], Section | None]

SECTIONS: tuple[Write, ...] = (
    maps.section,
    frameworks.section,
    layers.section,
    mistakes.section,
    black_boxes.section,
    numbers.section,
    methods.section,
    making.section,
)
