"""`caselli decompress RUN FILES... -o FOLDER`."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from caselli.cli.compress import progress
from caselli.cli.parser import add_out, add_run, free, parser
from caselli.errors import UserError

TOGETHER = 128
"""Number of groups that are decoded before their pictures are written."""


def run(arguments: list[str]) -> None:
    """Parses, decompresses, writes a PNG for each picture; where one file is bad, none."""
    options = parser("decompress", "Pictures from the bytes of `caselli compress`, a PNG each.")
    add_run(options)
    options.add_argument("files", nargs="+", metavar="FILES", help="files, archives, or one folder of them")
    options.add_argument(
        "--batch", type=int, default=256, help="sequences at a time; no pixel depends on it (256)"
    )
    options.add_argument(
        "--allow-large", action="store_true", help="allow more than 4,194,304 pixels at once"
    )
    add_out(options, "FOLDER")
    given = options.parse_args(arguments)
    out = free(given.out, given.overwrite)
    if out.is_file():
        raise UserError(f"{given.out} is a file", "a folder was expected")

    from caselli.codec import Codec, load_residual
    from caselli.model import load

    model = load(given.run)
    residual = load_residual(Path(given.run), model.tokenizer.fingerprint())
    codec = Codec(model, residual, batch=given.batch, allow_large=given.allow_large)
    archives = [(name, _parsed(path, codec)) for name, path in _files(given.files)]
    count = sum(group.count for _, archive in archives for group in archive.groups)
    names = {
        name: iter([f"{inside}.png" for inside in archive.names] or [name]) for name, archive in archives
    }
    begin = time.perf_counter()
    parent = out.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=parent) as scratch, progress(count) as bar:
        groups = [(path, group) for path, archive in archives for group in archive.groups]
        for first in range(0, len(groups), TOGETHER):
            part = groups[first : first + TOGETHER]
            decoded = codec.decompress([group for _, group in part], bar.update)
            for (name, _), pictures in zip(part, decoded, strict=True):
                for picture in pictures:
                    _save(picture, Path(scratch, next(names[name])))
        for path in sorted(Path(scratch).rglob("*.png")):
            target = out / path.relative_to(scratch)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
    print(f"{count} pictures in {out}, {count / (time.perf_counter() - begin):.1f} a second", file=sys.stderr)


def _files(given: list[str]) -> list[tuple[str, Path]]:
    """Names of the pictures to come, and the files."""
    from caselli.codec import ENDINGS

    paths = [Path(name) for name in given]
    if len(paths) == 1 and paths[0].is_dir():
        root = paths[0]
        inside = sorted(path for path in root.rglob("*") if path.suffix in ENDINGS)
        if not inside:
            raise UserError(
                f"{root} holds nothing compressed", f"files of {' or '.join(ENDINGS)} were expected"
            )
        return [(path.relative_to(root).with_suffix(".png").as_posix(), path) for path in inside]
    names = [path.with_suffix(".png").name for path in paths]
    if len(set(names)) < len(names):
        raise UserError("two files of one name were given", "names of their own were expected")
    return list(zip(names, paths, strict=True))


def _parsed(path: Path, codec: Any) -> Any:
    """Content of a file; a mistake names the file."""
    from caselli.codec import parse

    try:
        archive = parse(path.read_bytes())
        codec.check(archive)
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror})", "a file of `caselli compress` was expected"
        ) from None
    except UserError as error:
        raise UserError(f"{path}: {error.given}", error.expected, error.remedy) from None
    return archive


def _save(pixels: Any, path: Path) -> None:
    from caselli.codec import image_of

    path.parent.mkdir(parents=True, exist_ok=True)
    image_of(pixels.permute(1, 2, 0).contiguous().numpy()).save(path, "PNG", optimize=True)
