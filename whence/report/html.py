"""Self-contained HTML pages: pictures are inlined as PNG, the style sheet too, nothing is fetched from anywhere."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

import numpy as np


@dataclass(frozen=True)
class Section:
    """A part of a page: ``body`` is HTML, ``title`` and ``lead`` are text; ``anchor`` names it in addresses."""

    anchor: str
    title: str
    body: str
    lead: str = ""

    def html(self) -> str:
        """The section as HTML."""
        lead = f'<p class="lead">{escape(self.lead)}</p>\n' if self.lead else ""
        return f'<section id="{self.anchor}">\n<h2>{escape(self.title)}</h2>\n{lead}{self.body}\n</section>'


def document(title: str, head: str, sections: Sequence[Section], style: str = "") -> str:
    """A whole page: ``head`` is HTML in front of the sections, ``style`` is added to the style sheet."""
    sheet = files("whence.report").joinpath("page.css").read_text(encoding="utf-8") + style
    links = " ".join(f'<a href="#{s.anchor}">{escape(s.title)}</a>' for s in sections)
    body = "\n".join(section.html() for section in sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>\n{sheet}</style>\n</head>\n<body>\n<main>\n"
        f'<header>\n{head}\n<nav aria-label="Contents">{links}</nav>\n</header>\n{body}\n</main>\n</body>\n</html>\n'
    )


def png(pixels: np.ndarray) -> bytes:
    """Colours ``[H, W, 3 or 4]`` or greys ``[H, W]``, between 0 and 1, as a PNG file."""
    kind = {2: 0, 3: 2, 4: 6}[2 if pixels.ndim == 2 else pixels.shape[-1]]
    data = np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    height, width = data.shape[:2]
    lines = b"".join(b"\0" + line.tobytes() for line in data)

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    size = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")


def picture(pixels: np.ndarray, alt: str) -> str:
    """An inlined picture; ``alt`` says in words what it shows."""
    data = b64encode(png(pixels)).decode()
    return f'<img class="map" alt="{escape(alt, quote=True)}" src="data:image/png;base64,{data}">'


def captioned(image: str, caption: str) -> str:
    """A picture with a line below it."""
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def link(text: str, address: str) -> str:
    """A link to another page."""
    return f'<a href="{escape(address, quote=True)}">{escape(text)}</a>'


def cell(content: str, kind: str = "", tag: str = "td", **attributes: object) -> str:
    """A cell of a table; ``content`` is HTML, ``kind`` its class."""
    given = {"class": kind or None, **attributes}
    shown = "".join(f' {key}="{value}"' for key, value in given.items() if value is not None)
    return f"<{tag}{shown}>{content}</{tag}>"


def table(head: Iterable[Sequence[str]], rows: Iterable[Sequence[str]], kind: str) -> str:
    """A table of cells, scrolling sideways where the window is too narrow for it."""

    def lines(cells: Iterable[Sequence[str]]) -> str:
        return "\n".join(f"<tr>{''.join(row)}</tr>" for row in cells)

    return (
        f'<div class="scroll"><table class="{kind}">\n<thead>\n{lines(head)}\n</thead>\n'
        f"<tbody>\n{lines(rows)}\n</tbody>\n</table></div>"
    )


def number(value: float | None, digits: int = 2) -> str:
    """A small number, ``3.1e-7``; a dash for None."""
    if value is None:
        return "–"
    if value == 0 or not np.isfinite(value):
        return f"{value:g}"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa}e{int(exponent)}"
