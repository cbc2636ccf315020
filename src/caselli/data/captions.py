"""Captions of a folder's pictures, from tables or from texts beside them."""

from __future__ import annotations

import collections
import dataclasses
import posixpath
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from caselli.data import caption_files
from caselli.data.caption_files import CAPTIONS, METADATA, Rows
from caselli.data.listing import BAD_SHARE
from caselli.errors import UserError

LEAST_SHARE = 0.5
"""Texts beside fewer of the pictures than this share are no captions of the set."""


@dataclasses.dataclass(frozen=True)
class Captions:
    """The captions of a folder's pictures."""

    captions: tuple[tuple[str, ...], ...] | None
    """One or more of each picture, an empty one where it has none; None where the folder has no captions."""
    notes: tuple[str, ...] = ()
    """Sentences on what did not fit."""
    read: frozenset[str] = frozenset()
    """Names of the files that they come from."""


def read_captions(
    root: Path, files: Sequence[str], pictures: Sequence[str], names: Sequence[str]
) -> Captions:
    """The captions of each picture: of a `captions.csv` in the folder, else of the tables `METADATA` at any
    depth, else of texts beside at least half of the pictures.

    A row belongs to the picture of its name or, where none has exactly this name, to the one that has it but
    for case, blanks around it, the way in which accents are composed, `./` and the kind of slash.

    Arguments:
        root: the folder.
        files: names of all files in it.
        pictures: names of the pictures.
        names: of the pictures as they are shown.

    Errors: `UserError` for a `captions.csv` that cannot be read, or of whose rows more than 5 % name no
        picture; another table, which may serve another purpose, is left out then.
    """
    table = next((name for name in files if name.casefold() == CAPTIONS), None)
    if table is not None:
        return _of_rows({table: caption_files.read_table(root / table)}, root, names)
    try:
        told = _of_metadata(root, files, names)
    except UserError as error:
        told, notes = None, (f"captions: {error.given}, so it is left out",)
    else:
        notes = ()
    told = told or _of_texts(root, files, pictures)
    return dataclasses.replace(told, notes=(*notes, *told.notes))


def _of_metadata(root: Path, files: Sequence[str], names: Sequence[str]) -> Captions | None:
    found = {}
    for name in files:
        folder, _, file = name.rpartition("/")
        if file.casefold() in METADATA:
            rows = caption_files.read_metadata(root / name, folder)
            if rows is not None:
                found[name] = rows
    return _of_rows(found, root, names) if found else None


def _of_rows(tables: Mapping[str, Rows], root: Path, names: Sequence[str]) -> Captions:
    exact = set(names)
    normal = _unique({name: normal_form(name) for name in names})
    found: dict[str, list[str]] = {name: [] for name in names}
    unknown = []
    rows = [row for table in tables.values() for row in table.rows]
    for file, caption in rows:
        name = file if file in exact else normal.get(normal_form(file))
        if name is None:
            unknown.append(file)
        elif caption not in found[name]:
            found[name].append(caption)
    if len(unknown) > BAD_SHARE * len(rows) or len(unknown) == len(rows):
        raise UserError(
            f"{len(unknown)} of the {len(rows)} rows of {', '.join(str(root / name) for name in tables)} fit "
            "no picture" + (f" ({unknown[0]!r}, ...)" if unknown else ""),
            f"a table whose every row names a picture of the folder, such as {names[0]!r}, was expected",
        )
    notes = _notes(found, unknown, sum(table.joined for table in tables.values()))
    # by name, as two names may be shown alike
    return Captions(tuple(_without_empty(found[name]) for name in names), notes, frozenset(tables))


def _of_texts(root: Path, files: Sequence[str], pictures: Sequence[str]) -> Captions:
    beside = caption_files.texts_beside(files, pictures)
    if len(beside) < LEAST_SHARE * len(pictures) or not pictures:
        return Captions(None)
    found = {name: caption_files.read_text(root / text) for name, text in beside.items()}
    bad = [beside[name] for name, captions in found.items() if captions is None]
    if sum(map(bool, found.values())) < LEAST_SHARE * len(pictures):
        return Captions(None)
    told = {name: list(found.get(name) or ()) for name in pictures}
    notes = _notes(told, (), 0)
    if bad:
        notes += (f"captions: {len(bad)} texts cannot be read as UTF-8 of a few lines ({bad[0]}, ...)",)
    captions = tuple(_without_empty(told[name]) for name in pictures)
    return Captions(captions, notes, frozenset(beside.values()))


def normal_form(name: str) -> str:
    r"""A file's name in the form by which names are compared.

    Example:
        >>> normal_form(" ./sub\\A.PNG ") == normal_form("sub/a.png")
        True
    """
    text = unicodedata.normalize("NFC", name).strip().replace("\\", "/").casefold()
    return unicodedata.normalize("NFC", posixpath.normpath(text).lstrip("/"))


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
