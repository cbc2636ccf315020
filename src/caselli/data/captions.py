"""Captions of a folder's pictures, from a table."""

from __future__ import annotations

import collections
import csv
import posixpath
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from caselli.data.listing import BAD_SHARE
from caselli.errors import UserError

CAPTIONS = "captions.csv"
"""The table's name: CSV in UTF-8 with the columns file and caption, a row for each caption."""
COLUMNS = ("file", "caption")


def read_captions(
    root: Path, names: Sequence[str]
) -> tuple[tuple[tuple[str, ...], ...] | None, tuple[str, ...]]:
    """The captions of each picture, in the order of the rows, and sentences on what did not fit.

    A row belongs to the picture of its name or, where none has exactly this name, to the one that has it but
    for case, blanks around it, the way in which accents are composed, `./` and the kind of slash. Commas in a
    caption need no quotes where it is the last column.

    Arguments:
        root: the folder; without a table in it there are no captions.
        names: of the pictures, relative to the folder.

    Errors: `UserError` for a table that cannot be read, and where more than 5 % of its rows name no picture.
    """
    path = captions_file(root)
    if path is None:
        return None, ()
    rows, joined = _rows(path)
    exact = set(names)
    normal = _unique({name: normal_form(name) for name in names})
    found: dict[str, list[str]] = {name: [] for name in names}
    unknown = []
    for file, caption in rows:
        name = file if file in exact else normal.get(normal_form(file))
        if name is None:
            unknown.append(file)
        elif caption not in found[name]:
            found[name].append(caption)
    if len(unknown) > BAD_SHARE * len(rows) or len(unknown) == len(rows):
        raise UserError(
            f"{len(unknown)} of the {len(rows)} rows of {path} fit no picture"
            + (f" ({unknown[0]!r}, ...)" if unknown else ""),
            f"a table whose every row names a picture of the folder, such as {names[0]!r}, was expected",
        )
    # by name, as two names may be shown alike
    return tuple(_without_empty(found[name]) for name in names), _notes(found, unknown, joined)


def captions_file(root: Path) -> Path | None:
    """The table in a folder, its name in any case of letters; None without one."""
    found = (path for path in sorted(root.iterdir()) if path.name.casefold() == CAPTIONS and path.is_file())
    return next(found, None)


def normal_form(name: str) -> str:
    r"""A file's name in the form by which names are compared.

    Example:
        >>> normal_form(" ./sub\\A.PNG ") == normal_form("sub/a.png")
        True
    """
    text = unicodedata.normalize("NFC", name).strip().replace("\\", "/").casefold()
    return unicodedata.normalize("NFC", posixpath.normpath(text).lstrip("/"))


def _rows(path: Path) -> tuple[list[tuple[str, str]], int]:
    """File and caption of each row, and the number of captions that were put together at their commas."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.reader(file, strict=True)
            header = next(table, [])
            columns = [name.strip().casefold() for name in header]
            if any(columns.count(name) != 1 for name in COLUMNS):
                raise UserError(f"{path} has the columns {header}", "file,caption were expected")
            at = {name: columns.index(name) for name in COLUMNS}
            rows, joined = [], 0
            for row in table:
                if len(row) > len(columns):
                    if at["caption"] != len(columns) - 1:
                        raise UserError(
                            f"line {table.line_num} of {path} has {len(row)} columns",
                            f"{len(columns)} were expected",
                            "put captions with commas in quotes, or make them the last column",
                        )
                    row[len(columns) - 1 :] = [_joined(row[len(columns) - 1 :])]
                    joined += 1
                if row:
                    row += [""] * (len(columns) - len(row))
                    rows.append((row[at["file"]].replace("\\", "/"), row[at["caption"]]))
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error})", "a CSV file in UTF-8 was expected") from error
    return rows, joined


def _joined(parts: Sequence[str]) -> str:
    """A caption that was cut at its commas; quotes that follow a blank are quotes too."""
    text = ",".join(parts).strip()
    return text[1:-1].replace('""', '"') if len(text) > 1 and text[0] == text[-1] == '"' else text


def _unique(normal: dict[str, str]) -> dict[str, str]:
    """Normal form → name, where one name alone has it."""
    counts = collections.Counter(normal.values())
    return {form: name for name, form in normal.items() if counts[form] == 1}


def _without_empty(captions: list[str]) -> tuple[str, ...]:
    return tuple(caption for caption in captions if caption.strip()) or ("",)


def _notes(found: dict[str, list[str]], unknown: Sequence[str], joined: int) -> tuple[str, ...]:
    none = [name for name, captions in found.items() if not "".join(captions).strip()]
    several = sum(len(captions) > 1 for captions in found.values())
    notes = {
        f"{len(unknown)} rows fit no picture ({', '.join(unknown[:3])})": unknown,
        f"{len(none)} pictures have none ({', '.join(none[:3])})": none,
        f"{several} pictures have several, of which one is drawn at each step of training": several,
        f"{joined} hold commas without quotes and were put together": joined,
    }
    return tuple(f"captions: {note}" for note, is_so in notes.items() if is_so)
