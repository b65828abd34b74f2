"""The page writer: pages that need nothing but themselves."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.image import imread

from whence.report import html


class Page(HTMLParser):
    """What a page would load, and its text; tags have to be closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.inner: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.loaded += [str(given[name]) for name in ("src", "srcset", "data", "poster") if name in given]
        if tag == "link":
            self.loaded.append(str(given["href"]))
        if tag == "a" and str(given["href"]).startswith("#"):
            self.inner.append(str(given["href"])[1:])
        if "id" in given:
            assert given["id"] not in self.anchors, f"{given['id']} twice"
            self.anchors.add(str(given["id"]))
        if tag not in ("meta", "link", "img", "br", "wbr", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag


def self_contained(text: str) -> Page:
    page = Page(text)
    assert all(address.startswith("data:") for address in page.loaded)
    assert not re.search(r"@import|url\(|<script|<iframe", text)
    assert set(page.inner) <= page.anchors, "links within the page lead somewhere"
    return page


@pytest.mark.parametrize("shape", [(8, 8), (5, 7, 3), (3, 2, 4)])
def test_a_png_is_read_back(shape: tuple[int, ...]) -> None:
    pixels = np.random.Generator(np.random.Philox(0)).random(shape)
    read = imread(io.BytesIO(html.png(pixels)), format="png")
    assert read.shape == shape and np.abs(read - pixels).max() <= 0.5 / 255 + 1e-6


def test_a_page_is_self_contained_and_escaped() -> None:
    image = html.picture(np.zeros((2, 2)), 'a "<zero>"')
    body = (
        image + html.link("source", "https://arxiv.org/abs/1703.01365") + html.table([[html.cell("a")]], [], "numbers")
    )
    text = html.document("a < b", "<h1>Head</h1>", [html.Section("first", "Ö & <title>", body, lead="1 < 2")])
    page = self_contained(text)
    assert len(page.loaded) == 2 and "first" in page.anchors
    assert "<title>a &lt; b</title>" in text and "Ö &amp; &lt;title&gt;" in text and "1 &lt; 2" in text
    assert "prefers-color-scheme: dark" in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [(3.14e-7, "3.1e-7"), (1e-5, "1.0e-5"), (0.0, "0"), (None, "–"), (float("inf"), "inf"), (12.0, "1.2e1")],
)
def test_numbers(value: float | None, shown: str) -> None:
    assert html.number(value) == shown
    assert html.number(1e-5, 1) == "1e-5"
