"""The path that a command writes to."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from caselli.errors import UserError


def free(out: str | Path, overwrite: bool) -> Path:
    """The path to write to.

    Errors: `UserError` if something is there and nobody said to replace it.
    """
    path = Path(out)
    taken = path.exists() and (not path.is_dir() or any(path.iterdir()))
    if taken and not overwrite:
        raise UserError(f"{out} exists already", "a new file or folder was expected", "or add --overwrite")
    return path


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
    return path.suffix.lower() == ".png"


def expect_count(count: int, what: str) -> None:
    """Raises a `UserError` where none were asked for.

    Example:
        >>> expect_count(1, "pictures")
    """
    if count < 1:
        raise UserError(f"{count} {what} were asked for", "at least 1 was expected")
