"""The site's own parts: the checker of links, letters escaped for the markup, pages that begin well."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from caselli.version import __version__

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(DOCS.glob("*.md"))


def module(name: str):
    """A file of docs/site."""
    spec = importlib.util.spec_from_file_location(f"site_{name}", DOCS / "site" / f"{name}.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="other.html#there">', ""),
        ('<a href="#here"><p id="here">', ""),
        ('<a href="https://example.org/anything">', ""),
        ('<img src="data:image/png;base64,AA">', ""),
        ('<a href="nowhere.html">', "leads nowhere"),
        ('<a href="other.html#not">', "names no place"),
        ('<a href="#not">', "names no place"),
        ('<img src="gone.png">', "leads nowhere"),
        ('<script src="https://cdn.example.org/x.js">', "another host"),
        ('<link rel="stylesheet" href="//fonts.example.org/x.css">', "another host"),
        ('<p style="background: url(https://example.org/x.png)">', "another host"),
    ],
)
def test_faults_of_links_are_found(tmp_path, body, fault):
    (tmp_path / "a.html").write_text(f"<html>{body}</html>")
    (tmp_path / "other.html").write_text('<p id="there">')
    (tmp_path / "fine.css").write_text("@font-face { src: url(data:font/woff2;base64,AA) }")
    found = module("check").faults(tmp_path)
    assert [fault in line for line in found] == ([True] if fault else [])


def test_a_style_sheet_that_asks_another_host(tmp_path):
    (tmp_path / "bad.css").write_text("@import url('https://fonts.example.org/css');")
    assert len(module("check").faults(tmp_path)) == 1


def test_letters_are_escaped_where_the_markup_would_take_them():
    escaped = module("reference").escaped
    given = ["B *S and |x|, p_ `*S` :math:`|a|`", ".. math:: a |b|", "    c |d|", "e |f|", ">>> 2 * 3"]
    assert escaped(given) == [r"B \*S and \|x\|, p\_ `*S` :math:`|a|`", *given[1:3], r"e \|f\|", ">>> 2 * 3"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_begins_with_what_one_can_do(page):
    """A command or a few lines of Python on the first screen, before any formula."""
    text = page.read_text()
    begun = "\n".join(text.splitlines()[:30])
    assert text.startswith("# ") and re.search(r"^```(sh|python)", begun, re.MULTILINE)
    assert "$$" not in begun


def test_the_changelog_and_the_citation_speak_of_this_version():
    root = DOCS.parent
    assert re.search(r"^## (\S+)", (root / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == __version__
    assert f"\nversion: {__version__}\n" in (root / "CITATION.cff").read_text()


def test_every_page_is_in_the_guide():
    guide = (DOCS / "index.md").read_text()
    for page in {*PAGES} - {DOCS / "index.md"}:
        assert f"({page.name})" in guide


def test_extensions_are_found():
    sys.path.insert(0, str(DOCS / "site"))
    try:
        drawings = importlib.import_module("drawings")
    finally:
        sys.path.remove(str(DOCS / "site"))
    assert all(draw.__doc__ for draw in drawings.DRAWINGS.values()), "a drawing's docstring is its legend"
