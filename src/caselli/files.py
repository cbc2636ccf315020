"""Files that are whole or not there: nothing half written is ever seen under a name."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from caselli.errors import UserError

FORBIDDEN = (errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG)
"""Error numbers of the system for places where nothing may be written."""


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`; what is written there takes its name when the block ends well.

    The data are on the disk before the name is (fsync, rename, fsync of the folder). If the block fails, the
    file that was there before stays, and nothing else is left. A full disk is a `UserError`.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_write(Path(folder, "a.txt")) as temporary:
        ...         _ = temporary.write_text("whole")
        ...     Path(folder, "a.txt").read_text()
        'whole'
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        suffix = path.suffix if len(path.suffix) < 16 else ""
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:32]}.", suffix=suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        _sync(temporary)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        _sync(path.parent)
    except Exception as error:
        if _is_full(error):
            raise UserError(
                f"the disk is full: {path} was not written",
                remedy="make room; what was there before is intact",
            ) from error
        if isinstance(error, OSError) and error.errno in FORBIDDEN:
            raise UserError(f"{path} cannot be written ({error.strerror})") from error
        raise
    finally:
        if temporary is not None:
            with suppress(FileNotFoundError):
                temporary.unlink()


def regular(path: str | Path) -> Path:
    """The path itself, of a file that has an end.

    Errors: `UserError` for a pipe or a device, which might never end.

    Example:
        >>> regular("/dev/null")
        Traceback (most recent call last):
            ...
        caselli.errors.UserError: /dev/null is a pipe or a device; a file was expected
    """
    path = Path(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise UserError(f"{path} is a pipe or a device", "a file was expected")
    return path


def write_text(path: str | Path, text: str) -> None:
    """The whole text, atomically."""
    with atomic_write(path) as temporary:
        # names of files that are not UTF-8 are written as the bytes that they are
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")


def _is_full(error: Exception) -> bool:
    """True if the disk is full: libraries that write for us wrap the system's error in their own."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    signs = ("os error 28", "PytorchStreamWriter failed", os.strerror(errno.ENOSPC))
    return any(sign in str(error) for sign in signs)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
