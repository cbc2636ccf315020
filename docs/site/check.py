"""Links of a built site: `python docs/site/check.py FOLDER` names broken ones, and what other hosts serve.

A link to another site is a choice of the reader's and is left alone; a picture, script, style sheet or font
that would be fetched from one is a fault.
"""

from __future__ import annotations

import os
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}
"""Tags whose address is fetched without being asked for."""
NOT_FETCHED = {"canonical", "author", "license", "next", "prev", "search", "index"}
"""Kinds of <link> that name a page."""


class Page(HTMLParser):
    """The addresses and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        self.fetched += re.findall(r"url\(['\"]?([^'\")]+)", given.get("style", ""))
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag in FETCHED and FETCHED[tag] in given and given.get("rel") not in NOT_FETCHED:
            self.fetched.append(given[FETCHED[tag]])


def faults(folder: Path) -> list[str]:
    """Mistakes of a built site, a line for each broken link or foreign address."""
    folder = folder.resolve()
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        for address in dict.fromkeys([*page.links, *page.fetched]):
            fault = _fault(path, address, pages, fetched=address in page.fetched)
            found += [f"{path.relative_to(folder)}: {address} {fault}"] if fault else []
    for path in sorted(folder.rglob("*.css")):
        text = path.read_text(encoding="utf-8")
        for address in re.findall(r"(?:url\(|@import\s+(?!url))\s*['\"]?([^'\")\s;]+)", text):
            if urlsplit(address).netloc:
                found.append(f"{path.relative_to(folder)}: {address} is fetched from another host")
    return found


def _fault(path: Path, address: str, pages: dict[Path, Page], fetched: bool) -> str:
    """The fault of an address on a page; empty where there is none."""
    parts = urlsplit(address)
    if parts.netloc:
        return "is fetched from another host" if fetched else ""
    if parts.scheme:
        return ""  # mailto, and pictures that are written out (data)
    target = Path(os.path.normpath(path.parent / unquote(parts.path))) if parts.path else path
    if target not in pages and not target.exists():
        return "leads nowhere"
    if parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
        return "names no place on that page"
    return ""


def main(words: list[str]) -> int:
    if len(words) != 1 or not Path(words[0]).is_dir():
        print(
            "python docs/site/check.py FOLDER was expected, with a built site in the folder", file=sys.stderr
        )
        return 2
    found = faults(Path(words[0]))
    print("\n".join(found) or "every link leads somewhere, and nothing is fetched from another host")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
