"""The files of a folder: what is followed, what is known to be no data, what would never end."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

from caselli.decoding import EXTENSIONS
from caselli.errors import UserError

SYSTEM_FOLDERS = frozenset(
    (
        *("@eadir", "@recycle", "@recently-snapshot", "@tmp", "@__thumb", "#recycle", "#snapshot"),
        *("$recycle.bin", "recycler", "system volume information", "lost+found", "network trash folder"),
        *("temporary items", "thevolumesettingsfolder", "__pycache__", "node_modules", "_gsdata_"),
        *("@synoresource", "@sharebin", "@appstore", "@database", "dfsrprivate", "lost.dir", "recycled"),
    )
)
"""Folders that network drives, recycle bins and programs make, in lower case."""

MOST_LINKS = 2
"""More links than these on the way to a folder are not followed: folders that link to each other would make
endless ways."""

OURS = ("run.yaml", "comparison.json")
"""A folder that holds one of these files is a run or a comparison of ours; its pictures are no data."""


@dataclasses.dataclass(frozen=True)
class Tree:
    """The files of a folder at any depth."""

    files: tuple[str, ...]
    """Paths relative to the folder with forward slashes, sorted."""
    left_out: tuple[str, ...]
    """Sentences on what was not entered or read."""

    @property
    def pictures(self) -> list[str]:
        """Files whose names are those of pictures that can be read."""
        return [name for name in self.files if os.path.splitext(name)[1].lower() in EXTENSIONS]


def tree_of(root: str | Path) -> Tree:
    """The files of a folder at any depth.

    Links are followed, also two to one folder, but none back to a folder above it. Hidden files and folders,
    `SYSTEM_FOLDERS`, run folders, and pipes and devices (which may never end) are left out.

    Errors: `UserError` for a folder that cannot be read.
    """
    files: list[str] = []
    left: dict[str, list[str]] = {}
    waiting = [("", (os.path.realpath(root),), 0)]
    while waiting:
        inside, above, links = waiting.pop()
        for entry in _entries(os.path.join(root, inside)):
            name, is_link = inside + entry.name, entry.is_symlink()
            if is_system(entry.name):
                continue
            if not _is_folder(entry):
                is_special = os.path.exists(entry.path) and not entry.is_file()
                (left.setdefault("pipes or devices", []) if is_special else files).append(name)
                continue
            real = os.path.realpath(entry.path) if is_link else os.path.join(above[-1], entry.name)
            if real in above:
                continue
            if is_no_data(os.path.join(root, inside), entry.name):
                left.setdefault("runs and comparisons", []).append(name)
            elif links + is_link > MOST_LINKS:
                left.setdefault(f"folders behind more than {MOST_LINKS} links", []).append(name)
            else:
                waiting.append((f"{name}/", (*above, real), links + is_link))
    return Tree(tuple(sorted(files)), tuple(f"left out, {kind}: {_few(left[kind])}" for kind in sorted(left)))


def picture_files(root: str | Path) -> list[str]:
    """Names of the pictures in a folder, at any depth, with forward slashes, sorted; see `tree_of`."""
    return tree_of(root).pictures


def is_system(name: str) -> bool:
    """True for names of files and folders that are hidden or made by a system.

    Example:
        >>> is_system(".git"), is_system("@eaDir"), is_system("$"), is_system("cat")
        (True, True, False, False)
    """
    low = name.casefold()
    return (
        low.startswith((".", "__macosx")) or low in SYSTEM_FOLDERS or bool(re.fullmatch(r"found\.\d+", low))
    )


def is_no_data(folder: str | Path, name: str) -> bool:
    """True for folders that are hidden, made by a system, or runs or comparisons of ours."""
    return is_system(name) or any(os.path.isfile(os.path.join(folder, name, file)) for file in OURS)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _entries(folder: str) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise UserError(f"the folder {error.filename} cannot be read ({error.strerror})") from error


def _few(names: list[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
