"""The path that a command writes to."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from caselli.errors import UserError
from caselli.files import is_taken

FILES = frozenset(
    (
        *(".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".gif", ".bmp", ".avif", ".svg", ".pdf", ".mp4"),
        *(".html", ".htm", ".csv", ".json", ".yaml", ".yml", ".txt", ".md", ".npz", ".npy", ".csl"),
        *(".safetensors", ".pt", ".pth", ".ckpt", ".onnx", ".tar", ".gz", ".tgz", ".zip"),
    )
)
"""Endings of files, in lower case, that a new folder does not get."""
ENDING = r"\.[A-Za-z]\w{0,11}"
"""Endings that files have; `.5` of `run-0.5` is none."""
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
"""Endings of picture files that commands write, in lower case; the ending decides the format."""


def free(out: str | Path, overwrite: bool, endings: Sequence[str] = (), folder: bool = False) -> Path:
    """The path to write to.

    Arguments:
        out: as it was typed.
        overwrite: what is there may be replaced.
        endings: those that a file may have, `""` among them for one without.
        folder: it may be a folder, for which a name without an ending is taken, or one with a slash behind;
            where it must be one, any name but those of `FILES`.

    Errors: `UserError` if something is there and nobody said to replace it, and for a name of another ending.

    Example:
        >>> free("grid.gif", False, PICTURES, folder=True)
        Traceback (most recent call last):
            ...
        caselli.errors.UserError: the output grid.gif was given; a folder, or a file that ends in .png, \
.jpg, .jpeg, .webp, .tif or .tiff was expected; a slash behind it makes it a folder's name
    """
    path = Path(out)
    is_file = path.suffix.lower() in endings and not path.is_dir()
    if folder and not endings:
        new_folder(out)
    named = path.is_dir() or str(out).endswith(("/", os.sep)) or not re.fullmatch(ENDING, path.suffix)
    named = named or not endings
    if (path.is_file() and not is_file) or not (is_file or (folder and named)):
        shown = [ending for ending in endings if ending]
        files = " or ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:])))
        expected = [*["a folder"] * folder, *[f"a file that ends in {files}"] * bool(endings)]
        slash = "a slash behind it makes it a folder's name" if folder and not path.is_file() else ""
        raise UserError(f"the output {out} was given", f"{', or '.join(expected)} was expected", slash)
    taken = path.exists() and (not path.is_dir() or is_taken(path))
    if taken and not overwrite:
        raise UserError(f"{out} exists already", "a new file or folder was expected", "or add --overwrite")
    return path


def new_folder(out: str | Path) -> None:
    """Raises a `UserError` for a new folder whose name is a file's.

    Example:
        >>> new_folder("run-0.5")
    """
    path = Path(out)
    if path.suffix.lower() in FILES and not path.is_dir() and not str(out).endswith(("/", os.sep)):
        hint = f"`-o {path.with_suffix('')}`, or a slash behind it, is a folder's name"
        raise UserError(f"the output {out} was given", "a folder was expected", hint)


def told_apart(names: Sequence[str]) -> list[str]:
    """A path to write for each name, without its ending and unlike all others; says which had to change.

    Names that differ in their endings alone keep them; those that are still equal are numbered.

    Errors: `UserError` for a name that would lie outside the output folder.

    Example:
        >>> told_apart(["a.png", "a.jpg", "b/c.png", "b/c.png"])
        ['a.png', 'a.jpg', 'b/c.png', 'b/c.png-2']
    """
    stems = [_stem(name) for name in names]
    shared = {stem for stem, count in Counter(stems).items() if count > 1}
    taken, given, paths = set(stems) - shared, Counter(), []
    for name, stem in zip(names, stems, strict=True):
        path = name if stem in shared else stem
        while stem in shared and path in taken:
            given[name] += 1
            path = f"{name}-{given[name] + 1}"
        taken.add(path)
        paths.append(path)
        if path != stem:
            print(f"{name}, which shares its name, is written as {path}", file=sys.stderr)
    return paths


def _stem(name: str) -> str:
    """A name without its ending; whole where nothing would be left of it."""
    path = PurePosixPath(name)
    if not path.name or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise UserError(f"a picture is called {name!r}", "a name inside a folder was expected")
    stem = path.with_suffix("")
    return name if stem.name in ("", ".", "..") else str(stem)


def is_picture(path: Path) -> bool:
    """True if the output is one picture file rather than a folder."""
    return path.suffix.lower() in PICTURES and not path.is_dir()


def expect_count(count: int, what: str) -> None:
    """Raises a `UserError` where none were asked for.

    Example:
        >>> expect_count(1, "pictures")
    """
    if count < 1:
        raise UserError(f"{count} {what} were asked for", "at least 1 was expected")
