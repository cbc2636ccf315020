"""A folder of pictures."""

from __future__ import annotations

import collections
import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from caselli.data.decoding import EXTENSIONS, Location
from caselli.data.listing import Listing, read_listing, shown
from caselli.data.pictures import Pictures
from caselli.data.source import Request, Source
from caselli.errors import UserError

CAPTIONS = "captions.csv"


class Folder(Source):
    """A folder with pictures at any depth, in the order of their names.

    Where every picture lies in one of two or more folders directly beneath the source, the names of those
    folders are the classes. A `captions.csv` with the columns file,caption gives captions. Hidden files and
    folders are left out; folders that are links are followed.
    """

    expected = "a folder of pictures"

    @staticmethod
    def accepts(source: str) -> bool:
        return os.path.isdir(source)

    @staticmethod
    def open(source: str, request: Request) -> Pictures:
        root = Path(source)
        files = sorted(_files(root))
        names = [name for name in files if os.path.splitext(name)[1].lower() in EXTENSIONS]
        if not names:
            raise UserError(
                f"the folder {source} holds no pictures ({_contents(files)})",
                "files such as .png, .jpg, .webp were expected",
            )
        locations = [Location(str(root / name)) for name in names]
        names = [shown(name) for name in names]
        listing = Listing(
            shown(root.resolve().name), locations, names, _class_names(names), _captions(root, names)
        )
        return read_listing(listing, request)


def _files(root: Path) -> Iterator[str]:
    """Paths relative to the root, with forward slashes."""
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True, onerror=_unreadable):
        real = os.path.realpath(folder)
        if real in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        for name in files:
            if not name.startswith("."):
                yield (Path(folder) / name).relative_to(root).as_posix()


def _unreadable(error: OSError) -> None:
    raise UserError(f"the folder {error.filename} cannot be read ({error.strerror})") from error


def _contents(files: Sequence[str]) -> str:
    if not files:
        return "it is empty"
    counts = collections.Counter(os.path.splitext(name)[1] or "no suffix" for name in files)
    return "it holds " + ", ".join(f"{count} × {suffix}" for suffix, count in counts.most_common(4))


def _class_names(names: Sequence[str]) -> list[str] | None:
    tops = [name.split("/")[0] for name in names]
    if any("/" not in name for name in names) or len(set(tops)) < 2:
        return None
    return tops


def _captions(root: Path, names: Sequence[str]) -> list[str] | None:
    path = root / CAPTIONS
    if not path.is_file():
        return None
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, strict=True)
            if not {"file", "caption"} <= set(rows.fieldnames or ()):
                raise UserError(f"{path} has the columns {rows.fieldnames}", "file,caption were expected")
            captions = {(row["file"] or "").replace("\\", "/"): row["caption"] or "" for row in rows}
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error})", "a CSV file in UTF-8 was expected") from error
    if captions.keys().isdisjoint(names):
        raise UserError(
            f"no row of {path} names a picture of the folder", f"names such as {names[0]!r} were expected"
        )
    return [captions.get(name, "") for name in names]
