"""`caselli decompress RUN FILES... -o FOLDER`."""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from caselli.cli.compress import progress
from caselli.cli.output import free, told_apart
from caselli.errors import UserError

TOGETHER = 128
"""Number of groups that are decoded before their pictures are written."""


def command(
    run: str,
    files: list[str],
    *,
    batch: int = 256,
    allow_large: bool = False,
    out: str,
    overwrite: bool = False,
) -> None:
    """Turns the bytes of `caselli compress` into pictures, a PNG each; where one file is bad, none.

    Arguments:
        files: compressed files, archives, or one folder of them.
        out: folder of the pictures.
    """
    folder = free(out, overwrite, folder=True)

    from caselli.codec import Codec, load_residual
    from caselli.files import atomic_folder
    from caselli.model import load

    model = load(run)
    found = [(name, path, _parsed(path)) for name, path in _files(files)]
    archives = [(name, archive) for name, _, archive in found]
    is_exact = any(group.kind == "exact" for _, archive in archives for group in archive.groups)
    residual = load_residual(Path(run), model.tokenizer.digest()) if is_exact else None
    codec = Codec(model, residual, batch=batch, allow_large=allow_large)
    for _, path, archive in found:
        with _naming(path):
            codec.check(archive)
    count = sum(group.count for _, archive in archives for group in archive.groups)
    inside = [archive.names or (name,) for name, archive in archives]
    names = iter(told_apart([f"{name}.png" for each in inside for name in each]))
    profiles = (p for _, archive in archives for p in archive.profiles or [b""] * archive.pictures)
    begin = time.perf_counter()
    with atomic_folder(folder) as scratch, progress(count) as bar:
        groups = [group for _, archive in archives for group in archive.groups]
        for first in range(0, len(groups), TOGETHER):
            part = groups[first : first + TOGETHER]
            for pictures in codec.decompress(part, bar.update):
                for picture in pictures:
                    _save(picture, scratch / f"{next(names)}.png", next(profiles))
    print(
        f"{count} pictures in {folder}, {count / (time.perf_counter() - begin):.1f} a second", file=sys.stderr
    )


def _files(given: list[str]) -> list[tuple[str, Path]]:
    """Names of the pictures to come, and the files."""
    from caselli.codec import ENDINGS

    paths = [Path(name) for name in given]
    if len(paths) == 1 and paths[0].is_dir():
        root = paths[0]
        inside = sorted(path for path in root.rglob("*") if path.suffix in ENDINGS and path.is_file())
        if not inside:
            raise UserError(
                f"{root} holds nothing compressed", f"files of {' or '.join(ENDINGS)} were expected"
            )
        return [(path.relative_to(root).with_suffix("").as_posix(), path) for path in inside]
    return [(path.stem, path) for path in paths]


def _parsed(path: Path) -> Any:
    """Content of a file."""
    from caselli.codec import parse
    from caselli.files import regular

    with _naming(path):
        return parse(regular(path).read_bytes())


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Names the file in mistakes."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror})", "a file of `caselli compress` was expected"
        ) from None
    except UserError as error:
        raise UserError(f"{path}: {error.given}", error.expected, error.remedy) from None


def _save(pixels: Any, path: Path, profile: bytes) -> None:
    from caselli.codec import image_of, with_profile

    path.parent.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    image_of(pixels.permute(1, 2, 0).contiguous().numpy()).save(file, "PNG", optimize=True)
    path.write_bytes(with_profile(file.getvalue(), profile))
