"""The path that a command writes to."""

from __future__ import annotations

from pathlib import Path

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
