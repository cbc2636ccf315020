"""`caselli compress RUN PICTURES... -o FOLDER`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, Literal

from caselli.cli.output import free, told_apart
from caselli.errors import UserError


def command(
    run: str,
    pictures: list[str],
    *,
    kind: Literal["codes", "exact"] = "codes",
    archive: bool = False,
    split: str = "held_out",
    most: int | None = None,
    batch: int = 256,
    allow_large: bool = False,
    out: str,
    overwrite: bool = False,
) -> None:
    """Turns pictures into bytes: their codes, or every pixel.

    The kind codes keeps what `caselli reconstruct` shows; exact keeps every pixel, and needs a residual model
    in the run (`caselli residual`).

    Arguments:
        pictures: picture files, or one set or folder.
        kind: codes or exact.
        archive: write one file for all pictures.
        most: pictures taken of a set or folder (all).
        out: a folder for a file each, or with --archive one file.
    """
    path = free(out, overwrite, (".csl", "") if archive else (), folder=not archive)

    from caselli.cli.pictures import picture_file
    from caselli.codec import Codec, every_pixel, load_residual
    from caselli.model import load

    model = load(run)
    residual = load_residual(Path(run), model.tokenizer.digest()) if kind == "exact" else None
    codec = Codec(model, residual, batch=batch, allow_large=allow_large)
    fingerprint = codec.fingerprint(kind)
    names, files = _files(pictures, most)
    profiles: tuple[bytes, ...] = ()
    if not files:
        names, pixels = _named_set(model, pictures[0], split, most)
    elif kind == "exact":
        read = [every_pixel(file, allow_large) for file in files]
        pixels, profiles = [one.pixels for one in read], tuple(one.profile for one in read)
        for note in filter(None, (one.note for one in read)):
            print(note, file=sys.stderr)
    else:
        pixels = [picture_file(file, model.size, model.channels) for file in files]
    begin = time.perf_counter()
    with progress(len(pixels)) as bar:
        coded = codec.compress(pixels, kind, shared=archive, progress=bar.update)
    seconds = time.perf_counter() - begin
    profiles = profiles or (b"",) * len(pixels)
    if archive:
        written = _archive(path, kind, fingerprint, names, profiles, coded)
    else:
        written = _each(path, fingerprint, names, profiles, coded)
    bits = sum(c.bits for c in coded) / len(pixels)
    print(
        f"{len(pixels)} pictures in {path}, {written} bytes; {8 * written / len(pixels):.1f} bits each, "
        f"{bits:.1f} by the models' own count; {len(pixels) / seconds:.1f} pictures a second",
        file=sys.stderr,
    )


def _files(given: list[str], most: int | None) -> tuple[list[str], list[Path]]:
    """Names without their endings, and picture files; none where a set was named."""
    from caselli.data import picture_files
    from caselli.decoding import EXTENSIONS

    files = [Path(name) for name in given]
    names = [file.name for file in files]
    if len(files) == 1 and files[0].is_dir():
        folder = files[0]
        names = picture_files(folder)[:most]
        files = [folder / name for name in names]
    elif len(files) == 1 and files[0].suffix.lower() not in EXTENSIONS:
        return [], []
    if not files:
        raise UserError(f"{given[0]} holds no pictures", "files such as .png or .jpg were expected")
    return told_apart(names), files


def _named_set(model: Any, source: str, split: str, most: int | None) -> tuple[list[str], list[Any]]:
    """Names and pixels of a set such as glyphs, at the model's size."""
    import torch

    from caselli.cli.pictures import source_for

    pictures = source_for(model, source, split)
    indices = torch.arange(min(most or len(pictures), len(pictures)))
    return told_apart([pictures.names[i] for i in indices]), list(pictures.read(indices))


def progress(pictures: int) -> Any:
    """A bar in pictures per second, on a terminal."""
    from tqdm import tqdm

    return tqdm(total=pictures, unit="picture", disable=not sys.stderr.isatty())


def _archive(
    out: Path, kind: str, fingerprint: bytes, names: list[str], profiles: tuple[bytes, ...], coded: list[Any]
) -> int:
    from caselli.codec import Archive, serialise_archive
    from caselli.files import atomic_write

    groups, order = tuple(c.group for c in coded), [i for c in coded for i in c.members]
    ordered = tuple(names[i] for i in order), tuple(profiles[i] for i in order)
    data = serialise_archive(Archive(fingerprint, groups, *ordered), kind)
    with atomic_write(out) as temporary:
        temporary.write_bytes(data)
    return len(data)


def _each(
    out: Path, fingerprint: bytes, names: list[str], profiles: tuple[bytes, ...], coded: list[Any]
) -> int:
    """NAME.csl, or NAME.png where a PNG is smaller; the bytes written."""
    from caselli.codec import serialise_one, with_profile
    from caselli.files import atomic_folder

    written = 0
    with atomic_folder(out) as scratch:
        for one in coded:
            (member,) = one.members
            png, profile = one.group.kind == "png", profiles[member]
            data = (
                with_profile(one.group.data, profile)
                if png
                else serialise_one(fingerprint, one.group, profile)
            )
            path = scratch / f"{names[member]}.{'png' if png else 'csl'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            written += len(data)
    return written
