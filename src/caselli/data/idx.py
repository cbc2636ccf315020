"""The idx files of the MNIST family."""

from __future__ import annotations

import gzip
import io
import math
import os
import re
import zlib
from pathlib import Path

import numpy as np
import torch

from caselli.data.pictures import Pictures, chosen_by_name, label_table
from caselli.data.source import Request, Source, fitted
from caselli.errors import UserError

PATTERN = re.compile(r"(?P<stem>.*?)-?images[-.]idx3-ubyte(?P<zipped>\.gz)?", re.IGNORECASE)
MOST_BYTES = 1 << 36
"""A file that claims more content than this is not read."""


class Idx(Source):
    """A file `*-images-idx3-ubyte.gz`, with the labels beside it, or a folder that holds such files.

    Of a folder the files `train-*` are for training and `t10k-*` (or `test-*`) are held out. A single file is
    a set by itself, a tenth of it held out.
    """

    expected = "an idx file of the MNIST family (.gz) or a folder with them"

    @staticmethod
    def accepts(source: str) -> bool:
        return bool(_image_files(source))

    @staticmethod
    def open(source: str, request: Request) -> Pictures:
        parts = _parts(source)
        pixels, labels, names = [], [], []
        for split, path in parts.items():
            pixels.append(_pictures(path))
            labels.append(_labels(path, len(pixels[-1])))
            names += [f"{split}/{i:06}" for i in range(len(pixels[-1]))]
        if any(part.shape[1:] != pixels[0].shape[1:] for part in pixels):
            raise UserError(
                f"the files of {source} hold pictures of different sizes", "one size was expected"
            )
        held_out = chosen_by_name(names)
        if len(parts) > 1:
            held_out = torch.tensor([name.startswith("held_out/") for name in names])
        known = {}
        if all(part is not None for part in labels):
            known["classes"], known["labels"] = label_table(np.concatenate(labels).tolist())
        name = re.sub(r"[-.]images.*", "", Path(source).resolve().name)
        return Pictures.of(name, fitted(torch.cat(pixels)[:, None], request), names, held_out, **known)


def read_idx(path: str | Path, axes: int) -> np.ndarray:
    """An idx file of unsigned bytes, gzipped or not.

    The file is: two zero bytes, the type (8), the number of axes, the length of each axis as a 32-bit
    big-endian integer, the values.

    Raises:
        UserError: it is something else, is cut short, or holds more than it says.
    """
    try:
        with open(path, "rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else open(path, "rb") as file:
            magic = file.read(4)
            if magic != bytes((0, 0, 8, axes)):
                raise UserError(
                    f"{path} begins with {magic.hex(' ') or 'nothing'}",
                    f"an idx file of unsigned bytes with {axes} axes (00 00 08 {axes:02x}) was expected",
                )
            header = file.read(4 * axes)
            shape = tuple(int.from_bytes(header[i : i + 4], "big") for i in range(0, 4 * axes, 4))
            expected = math.prod(shape)
            values = _at_most(file, min(expected, MOST_BYTES) + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is cut short or damaged ({error})", remedy="fetch it again") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from error
    if len(header) < 4 * axes or len(values) != expected:
        raise UserError(
            f"{path} says that it holds {' × '.join(map(str, shape))} values",
            f"it holds {'more' if len(values) > expected else 'fewer'}",
            "fetch it again",
        )
    return np.frombuffer(values, dtype=np.uint8).reshape(shape)


def _at_most(file: io.BufferedIOBase, count: int) -> bytes:
    """Up to `count` bytes, in pieces: what a file claims to hold is not allocated before it is there."""
    parts = []
    while count > 0 and (part := file.read(min(count, 1 << 24))):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _image_files(source: str) -> list[Path]:
    path = Path(source)
    if os.path.isfile(source):
        return [path] if PATTERN.fullmatch(path.name) else []
    if not os.path.isdir(source):
        return []
    named = [path / name for name in sorted(os.listdir(source)) if PATTERN.fullmatch(name)]
    inside = [folder / folder.name for folder in named]  # Kaggle's copy: a folder about a file of its name
    found: dict[str, Path] = {}
    for file in sorted((file for file in (*named, *inside) if file.is_file()), key=lambda f: len(f.parts)):
        found.setdefault(PATTERN.fullmatch(file.name)["stem"].lower(), file)
    return sorted(found.values())


def _parts(source: str) -> dict[str, Path]:
    files = _image_files(source)
    if os.path.isfile(source):
        return {"all": files[0]}
    parts: dict[str, list[Path]] = {"train": [], "held_out": []}
    for file in files:
        stem = PATTERN.fullmatch(file.name)["stem"].lower()
        parts["held_out" if stem.endswith(("t10k", "test")) else "train"].append(file)
    if max(map(len, parts.values())) > 1:
        raise UserError(
            f"{source} holds the idx files of several sets ({', '.join(file.name for file in files)})",
            "one for training and one held out were expected",
            "name one file",
        )
    return {split: found[0] for split, found in parts.items() if found}


def _pictures(path: Path) -> torch.Tensor:
    pixels = torch.from_numpy(read_idx(path, 3).copy())
    if pixels.numel() == 0:
        raise UserError(f"{path} holds no pictures")
    return pixels


def _labels(path: Path, count: int) -> np.ndarray | None:
    name = path.name.replace("images", "labels").replace("idx3", "idx1")
    labels = next(
        (
            place
            for n in (name, name + ".gz", name.removesuffix(".gz"))
            for place in (path.with_name(n), path.parent.with_name(n) / n)
            if place.is_file()
        ),
        None,
    )
    if labels is None:
        return None
    values = read_idx(labels, 1)
    if len(values) != count:
        raise UserError(
            f"{labels} holds {len(values)} labels", f"one for each of {count} pictures was expected"
        )
    return values
