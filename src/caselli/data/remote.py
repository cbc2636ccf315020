"""Shards at URLs, by fsspec: each is copied whole, to a file that lasts as long as somebody reads it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

from caselli.errors import MissingExtra, UserError
from caselli.files import sweep, told, unfinished


def is_url(path: str) -> bool:
    """True for s3://bucket/a.tar, https://host/a.tar and the like.

    Example:
        >>> is_url("gs://bucket/part-{00..41}.tar"), is_url("shards/a.tar")
        (True, False)
    """
    return "://" in path


def named(pattern: str) -> list[str]:
    """The URLs that one with stars stands for, or the tar files of a folder.

    Errors: `MissingExtra` without fsspec, `UserError` where the place cannot be reached.
    """
    if not pattern.endswith(".tar"):
        pattern = pattern.rstrip("/") + "/*.tar"
    if "*" not in pattern:
        return [pattern]
    system, path = _system(pattern)
    with _reached(pattern):
        return sorted(map(system.unstrip_protocol, system.glob(path)))


def stamp(url: str) -> str | None:
    """Size of a file, and its time or tag where they are known; None where there is none.

    Errors: `UserError` where the place cannot be reached.
    """
    system, path = _system(url)
    with _reached(url):
        try:
            facts = system.info(path)
        except FileNotFoundError:
            return None
    known = [facts.get(name) for name in ("ETag", "etag", "mtime", "LastModified", "created")]
    return "|".join([url, str(facts.get("size")), *(str(one) for one in known if one is not None)])


class Copy:
    """A copy of a file at a URL, removed when nobody refers to it any more, or the process ends.

    Arguments:
        url: where the file is.

    Errors: `UserError` where it is not there, or cannot be read to its end.
    """

    def __init__(self, url: str) -> None:
        system, path = _system(url)
        place = Path(tempfile.gettempdir())
        sweep(place)
        handle, self.path = tempfile.mkstemp(".tar", f"{unfinished(Path('shard'))}.", place)
        self._end = weakref.finalize(self, _remove, self.path)
        with os.fdopen(handle, "wb") as target, told(self.path), _reached(url):
            try:
                with system.open(path, "rb") as source:
                    shutil.copyfileobj(source, target, 1 << 20)
            except FileNotFoundError:
                raise UserError(f"the shard {url} is missing", "every shard was expected") from None


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _system(url: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError:
        raise MissingExtra(f"the source {url}", "fsspec", "urls") from None
    try:
        return fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:  # a protocol that needs a package of its own, or is none
        raise UserError(f"{url} cannot be opened ({error})") from None


@contextlib.contextmanager
def _reached(url: str) -> Any:
    """Makes whatever a network raises a `UserError`, but for a full disk here."""
    try:
        yield
    except (UserError, FileNotFoundError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UserError(f"{url} cannot be read ({error})", remedy="go on with --resume") from error
