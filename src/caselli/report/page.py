"""A page of HTML that stands alone: no scripts, no requests, pictures inside."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from PIL import Image

from caselli.errors import UserError
from caselli.files import write_text
from caselli.report.grid import PAGE_WIDTH
from caselli.report.style import STYLE

KINDS = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"<?xml": "image/svg+xml",
    b"<svg": "image/svg+xml",
}
"""The first bytes of a file of each kind."""


class Page:
    """One HTML page, made from the top down; every text is escaped.

    Arguments:
        title: the heading.
        subtitle: one line below it.
        footer: one line at the foot.

    Example:
        >>> page = Page("Run 7", "62 classes")
        >>> page.section("Codes")
        >>> page.facts([("codebook use", "97", "%")])
        >>> "<h2>Codes</h2>" in page.html()
        True
    """

    def __init__(self, title: str, subtitle: str = "", footer: str = "") -> None:
        self.title, self.subtitle, self.footer = title, subtitle, footer
        self._parts: list[str] = []
        self._open, self._heading = False, title

    def section(self, title: str, text: str = "") -> None:
        """Begins a section, with a line that says what is to be seen."""
        self._close()
        self._open, self._heading = True, title
        self._parts.append(f"<section>\n<h2>{_escape(title)}</h2>")
        if text:
            self._parts.append(f'<p class="lead">{_escape(text)}</p>')

    def paragraph(self, text: str) -> None:
        """Running text."""
        self._parts.append(f"<p>{_escape(text)}</p>")

    def facts(self, facts: Iterable[tuple[str, str, str]]) -> None:
        """Key figures as tiles: (name, number, unit)."""
        tiles = [
            f"<div><dt>{_escape(name)}</dt><dd>{_escape(number)}{_small(unit)}</dd></div>"
            for name, number, unit in facts
        ]
        self._parts.append('<dl class="facts">\n' + "\n".join(tiles) + "\n</dl>")

    def table(self, rows: Iterable[Sequence[object]], header: Sequence[str] = ()) -> None:
        """Rows of cells; the first of each row is its name."""
        head = "".join(f'<th scope="col">{_escape(name)}</th>' for name in header)
        body = []
        for first, *rest in rows:
            cells = "".join(f"<td>{_escape(cell)}</td>" for cell in rest)
            body.append(f'<tr><th scope="row">{_escape(first)}</th>{cells}</tr>')
        thead = f"<thead><tr>{head}</tr></thead>" if head else ""
        lines = "\n".join(body)
        self._parts.append(f'<div class="table"><table>{thead}<tbody>\n{lines}\n</tbody></table></div>')

    def picture(self, picture: Image.Image | bytes, caption: str = "", pixelated: bool = True) -> None:
        """A picture (Pillow's, or the bytes of a PNG or JPEG file) at its own size, or as wide as the
        page.

        With `pixelated`, its pixels stay sharp when it is enlarged; one wider than the page is shrunk
        smoothly.
        """
        data = picture if isinstance(picture, bytes) else _png(picture)
        width, height = Image.open(io.BytesIO(data)).size
        sharp = ' class="pixelated"' if pixelated and width <= PAGE_WIDTH else ""
        size = f' width="{width}" height="{height}"'
        self._parts.append(_figure(data, f"{sharp}{size}", caption, caption or self._heading))

    def plot(self, plot: bytes, caption: str = "") -> None:
        """A drawing of `caselli.report.plots`."""
        self.plots({caption: plot})

    def plots(self, plots: Mapping[str, bytes]) -> None:
        """Drawings by caption, side by side where there is room."""
        figures = [
            _figure(data, ' class="plot"', caption, caption or self._heading)
            for caption, data in plots.items()
        ]
        self._parts.append('<div class="plots">\n' + "\n".join(figures) + "\n</div>")

    def commands(self, commands: Iterable[tuple[str, str]]) -> None:
        """(what it does, command line), each in a block that one click selects."""
        for text, command in commands:
            self._parts.append(
                f'<p class="command">{_escape(text)}</p>\n<pre><code>{_escape(command)}</code></pre>'
            )

    def details(self, summary: str, text: str) -> None:
        """Long plain text behind one line."""
        block = f"<pre>{_escape(text)}</pre>"
        self._parts.append(f"<details><summary>{_escape(summary)}</summary>{block}</details>")

    def html(self) -> str:
        """The whole page."""
        self._close()
        subtitle = f'<p class="subtitle">{_escape(self.subtitle)}</p>\n' if self.subtitle else ""
        footer = f"<footer>{_escape(self.footer)}</footer>\n" if self.footer else ""
        body = "\n".join(self._parts)
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{_escape(self.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
            f"<header>\n<h1>{_escape(self.title)}</h1>\n{subtitle}</header>\n<main>\n{body}\n</main>\n"
            f"{footer}</body>\n</html>\n"
        )

    def write(self, path: str | Path) -> None:
        """Writes the page atomically."""
        write_text(path, self.html())

    def _close(self) -> None:
        if self._open:
            self._parts.append("</section>")
        self._open = False


def _small(unit: str) -> str:
    return f" <small>{_escape(unit)}</small>" if unit else ""


def _escape(text: object) -> str:
    """Text as HTML; what UTF-8 cannot hold (a file name of other bytes) as a question mark."""
    return html.escape(str(text).encode("utf-8", "replace").decode("utf-8"))


def _figure(data: bytes, attributes: str, caption: str, alt: str) -> str:
    kind = next((kind for start, kind in KINDS.items() if data.startswith(start)), None)
    if kind is None:
        raise UserError(f"a picture that begins with {data[:4]!r} was given", "PNG, JPEG or SVG was expected")
    source = f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
    words = f"<figcaption>{_escape(caption)}</figcaption>" if caption else ""
    return f'<figure><img{attributes} alt="{_escape(alt)}" src="{source}">{words}</figure>'


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
