"""`caselli compress RUN PICTURES... -o FOLDER`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from caselli.cli.parser import add_out, add_run, free, parser
from caselli.errors import UnknownName, UserError

KINDS = ("codes", "exact")


def run(arguments: list[str]) -> None:
    """Parses, compresses, writes a file each or one archive."""
    given = _options().parse_args(arguments)
    if given.kind not in KINDS:
        raise UnknownName("kind", given.kind, KINDS)
    out = free(given.out, given.overwrite)

    from caselli.codec import Codec, load_residual
    from caselli.model import load

    model = load(given.run)
    residual = load_residual(Path(given.run), model.tokenizer.fingerprint())
    codec = Codec(model, residual, batch=given.batch, allow_large=given.allow_large)
    fingerprint = codec.fingerprint(given.kind)
    names, pictures = _pictures(given, model)
    begin = time.perf_counter()
    with progress(len(pictures)) as bar:
        coded = codec.compress(pictures, given.kind, shared=given.archive, progress=bar.update)
    seconds = time.perf_counter() - begin
    written = (
        _archive(out, given.kind, fingerprint, names, coded)
        if given.archive
        else _each(out, fingerprint, names, coded)
    )
    bits = sum(c.bits for c in coded) / len(pictures)
    print(
        f"{len(pictures)} pictures in {out}, {written} bytes; {8 * written / len(pictures):.1f} bits each, "
        f"{bits:.1f} by the models' own count; {len(pictures) / seconds:.1f} pictures a second",
        file=sys.stderr,
    )


def _options() -> argparse.ArgumentParser:
    options = parser(
        "compress",
        "Pictures as bytes. The kind codes keeps what `reconstruct` shows; exact keeps every pixel, and "
        "needs a residual model in the run (`caselli residual`).",
    )
    add_run(options)
    options.add_argument(
        "pictures", nargs="+", metavar="PICTURES", help="picture files, or one set or folder"
    )
    options.add_argument("--kind", default="codes", help="codes or exact (codes)")
    options.add_argument("--archive", action="store_true", help="OUT is one file for all pictures")
    options.add_argument(
        "--split", default="held_out", help="of a named set: train, held_out or all (held_out)"
    )
    options.add_argument("--most", type=int, help="pictures taken of a set or folder (all)")
    options.add_argument(
        "--batch", type=int, default=256, help="sequences at a time; no byte depends on it (256)"
    )
    options.add_argument(
        "--allow-large", action="store_true", help="allow more than 4,194,304 pixels at once"
    )
    add_out(options, "a folder for a file each, or with --archive one file")
    return options


def _pictures(given: argparse.Namespace, model: Any) -> tuple[list[str], list[Any]]:
    """Names without their endings, and pixels: as they are for the kind exact, else at the model's size."""
    from caselli.codec import at_size, every_pixel, picture_files

    sources = [Path(name) for name in given.pictures]
    if len(sources) == 1 and sources[0].is_dir():
        names = picture_files(sources[0])[: given.most]
        files = [sources[0] / name for name in names]
    elif len(sources) > 1 or sources[0].suffix.lower() in _endings():
        names, files = [path.name for path in sources], sources
    else:
        return _named_set(given, model)
    if not files:
        raise UserError(f"{given.pictures[0]} holds no pictures", "files such as .png or .jpg were expected")
    stems = [str(Path(name).with_suffix("").as_posix()) for name in names]
    if len(set(stems)) < len(stems):
        twice = next(name for name in stems if stems.count(name) > 1)
        raise UserError(f"two pictures called {twice} were given", "names of their own were expected")
    if given.kind == "exact":
        return stems, [every_pixel(path, given.allow_large) for path in files]
    return stems, [at_size(path, model.size, model.tokenizer.config.channels) for path in files]


def _endings() -> frozenset[str]:
    from caselli.data import EXTENSIONS

    return EXTENSIONS


def _named_set(given: argparse.Namespace, model: Any) -> tuple[list[str], list[Any]]:
    """A set such as glyphs, at the model's size."""
    import torch

    from caselli.cli.pictures import source_for

    pictures = source_for(model, given.pictures[0], given.split)
    indices = torch.arange(min(given.most or len(pictures), len(pictures)))
    return [Path(pictures.names[i]).with_suffix("").as_posix() for i in indices], list(pictures.read(indices))


def progress(pictures: int) -> Any:
    """A bar in pictures per second, on a terminal."""
    from tqdm import tqdm

    return tqdm(total=pictures, unit="picture", disable=not sys.stderr.isatty())


def _archive(out: Path, kind: str, fingerprint: bytes, names: list[str], coded: list[Any]) -> int:
    from caselli.codec import Archive, serialise_archive
    from caselli.files import atomic_write

    ordered = tuple(names[i] for c in coded for i in c.members)
    data = serialise_archive(Archive(fingerprint, tuple(c.group for c in coded), ordered), kind)
    with atomic_write(out) as temporary:
        temporary.write_bytes(data)
    return len(data)


def _each(out: Path, fingerprint: bytes, names: list[str], coded: list[Any]) -> int:
    """NAME.csl, or NAME.png where a PNG is smaller; the bytes written."""
    from caselli.codec import serialise_one
    from caselli.files import atomic_write

    written = 0
    for one in coded:
        png = one.group.kind == "png"
        data = one.group.data if png else serialise_one(fingerprint, one.group)
        with atomic_write(out / f"{names[one.members[0]]}.{'png' if png else 'csl'}") as temporary:
            temporary.write_bytes(data)
        written += len(data)
    return written
