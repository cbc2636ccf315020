"""The folder that the studio serves, which no path leaves."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from caselli.errors import UserError

NEW_NAME = re.compile(r"[^\W_][\w .+-]{0,62}[\w+-]|[^\W_]")
"""Names that a new run may have: letters, digits and a few signs, no path."""
SELF = "."
"""Name of the folder itself, where it is a run."""


class Jail:
    """A folder whose contents are named by relative paths, none of which leads outside, links included.

    Arguments:
        root: the folder.

    Errors: `UserError` where there is no such folder.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().resolve()
        if not self.root.is_dir():
            raise UserError(
                f"{root} was given", "a folder of runs was expected", "make a run with `caselli demo`"
            )

    def path(self, name: str) -> Path:
        """The path of something in the folder.

        Errors: `UserError` for a name that leads outside, or to nothing.
        """
        pure = PurePosixPath(name)
        if not name or "\0" in name or "\\" in name or pure.is_absolute() or ".." in pure.parts:
            raise UserError(f"{name!r} was given", "the name of something in the folder of runs was expected")
        try:
            found = (self.root / pure).resolve()
            there = found.exists()
        except (OSError, RuntimeError):  # a loop of links, or a name that is too long
            there = False
        if not there or not found.is_relative_to(self.root):
            raise UserError(f"there is no {name!r} in the folder of runs")
        return found

    def folder(self, name: str, mark: str) -> Path:
        """A folder that holds a file of the name `mark`, and no link that leads outside.

        Errors: `UserError` for anything else.
        """
        found = self.path(name)
        if not (found / mark).is_file():
            raise UserError(f"{name!r} was given", f"a folder with {mark} was expected")
        for path in found.rglob("*"):
            if path.is_symlink() and not path.resolve().is_relative_to(self.root):
                raise UserError(f"{name!r} holds a link that leads out of the folder of runs")
        return found

    def holding(self, mark: str) -> list[str]:
        """Names of the folders, this one and two levels below it, that hold a file."""
        found = [SELF] * (self.root / mark).is_file()
        for pattern in (f"*/{mark}", f"*/*/{mark}"):
            for path in sorted(self.root.glob(pattern)):
                name = path.parent.relative_to(self.root).as_posix()
                if path.resolve().is_relative_to(self.root) and not name.startswith("."):
                    found.append(name)
        return found

    def new(self, name: str) -> Path:
        """The path of a new run.

        Errors: `UserError` for a name that is no plain word, or that is taken.
        """
        if not NEW_NAME.fullmatch(name):
            raise UserError(
                f"the name {name!r} was given", "letters, digits, spaces, dots and hyphens were expected"
            )
        path = self.root / name
        if path.exists() or path.is_symlink():
            raise UserError(f"{name} is there already", "another name was expected")
        return path
