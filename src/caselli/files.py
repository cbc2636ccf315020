"""Files that are whole or not there: nothing half written is seen under a name, nothing is left behind."""

from __future__ import annotations

import errno
import json
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from caselli.errors import UserError

if TYPE_CHECKING:  # importing this room does not import torch
    from torch import Tensor

try:
    import fcntl
except ImportError:  # Windows has no such locks: then nothing is swept, and no folder is kept to one command
    fcntl = None

FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG)
"""Error numbers of the system for places where nothing may be written."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of the system for a disk that is full, or a limit that is reached."""
UNFINISHED = ".caselli-"
"""Beginning of the names of files and folders that are being written."""
BESIDE = 1 << 24
"""Bytes for the buffers of a library beside the data that it is given."""
_swept: set[Path] = set()


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`; what is written there takes its name when the block ends well.

    The data are on the disk before the name is (fsync, rename, fsync of the folder). If the block fails, the
    file that was there before stays, and nothing else is left; what a process left that was killed is removed
    by the next one that writes there. A full disk is a `UserError`.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_write(Path(folder, "a.txt")) as temporary:
        ...         _ = temporary.write_text("whole")
        ...     Path(folder, "a.txt").read_text()
        'whole'
    """
    path = Path(path)
    temporary = handle = None
    with told(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            sweep(path.parent)
            suffix = path.suffix if len(path.suffix) < 16 else ""
            handle, name = tempfile.mkstemp(prefix=f"{unfinished(path)}.", suffix=suffix, dir=path.parent)
            _lock(handle)
            temporary = Path(name)
            yield temporary
            sync(temporary)
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
            sync(path.parent)
        finally:
            if temporary is not None:
                with suppress(FileNotFoundError):
                    temporary.unlink()
            if handle is not None:
                os.close(handle)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Gives a temporary folder beside `path`; what is written there lies in `path` when the block ends well.

    A folder that is new appears whole. Into one that is there already the files go one by one, each whole;
    what else lies there stays.
    """
    path = Path(os.path.realpath(path))  # a link stays one
    temporary = handle = None
    with told(path):
        try:
            parent = path.parent
            parent.mkdir(parents=True, exist_ok=True)
            sweep(parent)
            temporary = Path(tempfile.mkdtemp(prefix=f"{unfinished(path)}.", dir=parent))
            handle = os.open(temporary, os.O_RDONLY)
            _lock(handle)
            yield temporary
            os.chmod(temporary, 0o777 & ~_umask())
            if is_taken(path):
                for inside in sorted(one for one in temporary.rglob("*") if one.is_file()):
                    target = path / inside.relative_to(temporary)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(inside, target)
            else:
                if path.is_dir():
                    sweep(path)
                os.replace(temporary, path)
            sync(parent)
        finally:
            if handle is not None:
                os.close(handle)
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def alone(folder: str | Path) -> Iterator[None]:
    """Keeps a folder to one command at a time; the folder is made. Nothing in it tells of it afterwards, also
    where the command is killed.

    Errors: `UserError` where another command works in it.
    """
    folder = Path(folder)
    is_new = not folder.exists()
    with told(folder):
        folder.mkdir(parents=True, exist_ok=True)
    handle = None if fcntl is None else os.open(folder, os.O_RDONLY)
    try:
        if handle is not None and not _lock(handle):
            raise UserError(
                f"another command works in {folder}", "one at a time was expected", "wait until it has ended"
            )
        for inside, _, _ in os.walk(folder):
            sweep(Path(inside))
        yield
    finally:
        if handle is not None:
            os.close(handle)
        if is_new:
            with suppress(OSError):  # something was written
                folder.rmdir()


@contextmanager
def told(path: str | Path) -> Iterator[None]:
    """Makes a full disk, and a place where nothing may be written, `UserError`s about `path`."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if is_full(error):
            raise UserError(
                f"the disk is full: {path} was not written",
                remedy="make room; what was there before is intact",
            ) from error
        if isinstance(error, OSError) and error.errno in FORBIDDEN:
            raise UserError(f"{path} cannot be written ({error.strerror})") from error
        raise


def sweep(folder: Path) -> None:
    """Removes what killed processes left unfinished in a folder; once a process."""
    if fcntl is None or folder in _swept:
        return
    _swept.add(folder)
    with os.scandir(folder) as entries:
        left = [Path(entry.path) for entry in entries if entry.name.startswith(UNFINISHED)]
    for path in left:
        with suppress(OSError):  # another process was quicker, or it is not ours
            _remove_dead(path)


def _remove_dead(path: Path) -> None:
    """Removes what no process writes any more: none of that number lives here, none anywhere has its lock.

    The number alone would not do where machines share a disk, nor the lock where a compiler makes the file
    anew under its name.
    """
    number = path.name.removeprefix(UNFINISHED).partition("-")[0]
    if not number.isdecimal() or _lives(int(number)):
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        if _lock(handle):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    finally:
        os.close(handle)


def _lives(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def unfinished(path: Path) -> str:
    """Beginning of the name of a file or folder while this process writes it."""
    return f"{UNFINISHED}{os.getpid()}-{path.name[:32]}"


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


def is_taken(folder: Path) -> bool:
    """True for a folder that holds anything but what a killed process left unfinished."""
    return folder.is_dir() and any(not path.name.startswith(UNFINISHED) for path in folder.iterdir())


def write_text(path: str | Path, text: str) -> None:
    """The whole text, atomically."""
    with atomic_write(path) as temporary:
        # names of files that are not UTF-8 are written as the bytes that they are
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")


def write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """A safetensors file, atomically; equal contents are equal files.

    Example:
        >>> import torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_tensors(f"{folder}/a.safetensors", {"x": torch.ones(2)}, {"kind": "ones"})
        ...     read_tensors(f"{folder}/a.safetensors")
        ({'x': tensor([1., 1.])}, {'kind': 'ones'})
    """
    from safetensors.torch import save_file

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_write(path) as temporary:
        expect_memory(0)  # the library's own buffers: it writes tensor after tensor
        save_file(plain, temporary, None if metadata is None else dict(metadata))
        if metadata is not None:
            _put_in_order(temporary)


def _put_in_order(path: Path) -> None:
    """Rewrites the metadata of a safetensors file in the order of their names; the library has any order."""
    with open(path, "r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(text) <= length
        file.seek(8)
        file.write(text.ljust(length))


def read_tensors(
    path: str | Path, expected: str = "a whole .safetensors file was expected"
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file by their names, and its metadata.

    Arguments:
        path: the file.
        expected: what an error says of it.

    Errors: `UserError` for a file that is not there, is cut short or something else; `MemoryError` where the
    library would end the process.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    try:
        expect_memory(os.path.getsize(regular(path)))
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        return load_file(path), metadata
    except FileNotFoundError:
        raise UserError(f"there is no file {path}", expected) from None
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is cut short or damaged ({error})", expected) from None


def append_line(path: str | Path, line: str) -> None:
    """One more line at a file's end, behind what was cut short there."""
    with told(path), open(path, "a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else "\n" + line
        file.write(line.encode("utf-8") + b"\n")


def is_full(error: BaseException) -> bool:
    """True if the disk is full: libraries that write for us wrap the system's error in their own.

    Example:
        >>> is_full(OSError(errno.ENOSPC, "")), is_full(RuntimeError("basic_ios::clear: iostream error"))
        (True, True)
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in FULL
    signs = ("os error 28", "os error 27", os.strerror(errno.ENOSPC))
    signs += (
        "PytorchStreamWriter failed",
        "inline_container",
        "iostream error",
    )  # three places in torch.save
    return any(sign in str(error) for sign in signs)


def expect_memory(size: int) -> None:
    """Raises `MemoryError` where the process may not have so many bytes, and some beside, more.

    Called before a library that ends the process instead of raising an error. Nothing is touched: the bytes
    are asked for and given back.

    Example:
        >>> expect_memory(1000)
    """
    try:
        mmap.mmap(-1, size + BESIDE).close()
    except OSError as error:
        raise MemoryError(f"no room for {size} bytes") from error


def sync(path: Path) -> None:
    """Returns when a file, or the list of names in a folder, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    """Takes the lock of an open file, which ends with it; False where another has it. A file system without
    locks has everything free."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
