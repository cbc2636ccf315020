"""Files that tell captions of a folder's pictures: tables, and texts beside the pictures."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from caselli.errors import UserError

CAPTIONS = "captions.csv"
"""The table's name: CSV in UTF-8 with the columns file and caption, a row for each caption."""
METADATA = ("metadata.csv", "metadata.jsonl")
"""Names of the tables that Hugging Face's folders have, each for the pictures of its own folder."""
TEXTS = (".txt", ".caption")
"""Endings of a text beside a picture, in the order in which they are preferred."""
WORDS = ("caption", "captions", "text", "texts", "prompt", "prompts", "description", "sentences")
"""Names of columns that hold captions, in the order in which they are preferred."""
MOST_TEXT = 1 << 20
"""A label or caption longer than this many bytes is not read."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows of a table of captions."""

    rows: list[tuple[str, str]]
    """A file's name, relative to the folder of pictures, and a caption of it."""
    joined: int = 0
    """Captions that were put together at their commas."""


def read_table(path: Path) -> Rows:
    """The rows of a `captions.csv`.

    Commas in a caption need no quotes where it is the last column.

    Errors: `UserError` for a table that cannot be read.
    """
    lines = _csv(path)
    columns = [name.strip().casefold() for name in next(lines, (0, []))[1]]
    if any(columns.count(name) != 1 for name in ("file", "caption")):
        raise UserError(f"{path} has the columns {columns}", "file,caption were expected")
    file, caption = columns.index("file"), columns.index("caption")
    rows, joined = [], 0
    for number, row in lines:
        if len(row) > len(columns):
            if caption != len(columns) - 1:
                raise UserError(
                    f"line {number} of {path} has {len(row)} columns",
                    f"{len(columns)} were expected",
                    "put captions with commas in quotes, or make them the last column",
                )
            row[caption:] = [_joined(row[caption:])]
            joined += 1
        if row:
            row += [""] * (len(columns) - len(row))
            rows.append((row[file].replace("\\", "/"), row[caption]))
    return Rows(rows, joined)


def read_metadata(path: Path, folder: str) -> Rows | None:
    """The rows of a `metadata.csv` or `metadata.jsonl`, whose file_name is relative to its folder; None where
    no column holds captions.

    Arguments:
        folder: of the table, relative to that of the pictures.

    Errors: `UserError` for a table that cannot be read.
    """
    records = list(_json_lines(path) if path.suffix.casefold() == ".jsonl" else _records(path))
    words = next((name for name in WORDS if any(name in record for record in records)), None)
    if words is None or not any("file_name" in record for record in records):
        return None
    rows = []
    for record in records:
        told = record.get(words)
        for caption in told if isinstance(told, list) else [told]:
            name = str(record.get("file_name", "")).replace("\\", "/")
            rows.append((posixpath.join(folder, name), "" if caption is None else str(caption)))
    return Rows(rows)


def texts_beside(files: Sequence[str], pictures: Sequence[str]) -> dict[str, str]:
    """Picture → the text of its name beside it, of those that have one.

    Example:
        >>> texts_beside(["a.png", "a.txt", "b.png", "notes.txt"], ["a.png", "b.png"])
        {'a.png': 'a.txt'}
    """
    found: dict[str, str] = {}
    for ending in reversed(TEXTS):
        found |= {os.path.splitext(name)[0]: name for name in files if name.lower().endswith(ending)}
    stems = {name: os.path.splitext(name)[0] for name in pictures}
    return {name: found[stem] for name, stem in stems.items() if stem in found}


def captions_in(text: str) -> tuple[str, ...]:
    """The captions of a text, one a line; none in one without a letter, as of boxes and classes.

    Example:
        >>> captions_in("a cat\\n\\na small cat\\n"), captions_in("0 0.5 0.5 0.2 0.1")
        (('a cat', 'a small cat'), ())
    """
    lines = [line.strip() for line in text.splitlines()]
    return tuple(dict.fromkeys(line for line in lines if any(map(str.isalpha, line))))


def read_text(path: Path) -> tuple[str, ...] | None:
    """The captions of a text beside a picture; None where it is longer than `MOST_TEXT`, or not in UTF-8."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_TEXT + 1)
        return None if len(content) > MOST_TEXT else captions_in(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})", "a text was expected") from error


def _csv(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of each line."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.reader(file, strict=True)
            for row in table:
                yield table.line_num, row
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error})", "a CSV file in UTF-8 was expected") from error


def _records(path: Path) -> Iterator[dict[str, Any]]:
    lines = _csv(path)
    columns = [name.strip() for name in next(lines, (0, []))[1]]
    return (dict(zip(columns, row, strict=False)) for _, row in lines if row)


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                record = json.loads(line) if line.strip() else {}
                if not isinstance(record, dict):
                    raise UserError(f"line {number} of {path} is no object", "an object a line was expected")
                yield record
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error})", "JSON, an object a line, was expected") from error


def _joined(parts: Sequence[str]) -> str:
    """A caption that was cut at its commas; quotes that follow a blank are quotes too."""
    text = ",".join(parts).strip()
    return text[1:-1].replace('""', '"') if len(text) > 1 and text[0] == text[-1] == '"' else text
