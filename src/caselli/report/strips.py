"""Picture files written from top to bottom, never whole in memory."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from caselli.canvas import Canvas
from caselli.data import to_bytes
from caselli.files import atomic_write
from caselli.report.grid import FORMATS, grid, save_picture
from caselli.shapes import Float, Int, Tensor

_COLOURS = {1: 0, 3: 2}
"""Number of channels → colour type of the format."""


def save_canvas(
    canvas: Canvas, codes: Int[Tensor, "n *grid"], out: Path, about: Callable[[int], dict[str, str]]
) -> None:
    """Writes the pictures of a canvas's codes.

    Arguments:
        canvas: decodes the codes strip by strip.
        codes: of all pictures.
        out: a file that ends in one of `FORMATS`, a grid where there are several pictures; or a folder for a
            file each. A PNG of one picture is written strip by strip, never whole in memory.
        about: number of a picture → keywords and values for its file.
    """
    one_file = out.suffix.lower() in FORMATS and not out.is_dir()
    if one_file and (len(codes) > 1 or out.suffix.lower() != ".png"):
        save_picture(
            grid(torch.cat(list(canvas.strips(codes)), 2), scale=1, gap=6 * (len(codes) > 1)), out, about(0)
        )
        return
    for number in range(len(codes)):
        strips = (strip[0] for strip in canvas.strips(codes[number : number + 1]))
        save_strips(strips, canvas.size, out if one_file else out / f"{number:05}.png", about(number))


def save_strips(
    strips: Iterable[Float[Tensor, "C h W"]],
    size: tuple[int, int],
    path: str | Path,
    text: dict[str, str] | None = None,
) -> None:
    """Writes a PNG atomically, strip by strip.

    Arguments:
        strips: parts of the picture in [−1, 1], from top to bottom, grey (C = 1) or colour (C = 3).
        size: height and width of the whole picture.
        path: of the file.
        text: keyword → value, about how the picture was made.

    Source: Portable Network Graphics (PNG) Specification, second edition, 2003.
    """
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        packer, above, rows = zlib.compressobj(9), None, 0
        for strip in strips:
            pixels = to_bytes(strip).movedim(0, -1).contiguous().numpy()
            if above is None:
                above = np.zeros_like(pixels[0])
                header = struct.pack(">IIBBBBB", size[1], size[0], 8, _COLOURS[pixels.shape[2]], 0, 0, 0)
                _chunk(file, b"IHDR", header)
                for key, value in (text or {}).items():
                    _chunk(file, b"iTXt", key[:79].encode("latin-1") + b"\0\0\0\0\0" + str(value).encode())
            _chunk(file, b"IDAT", packer.compress(_predicted(pixels, above)))
            above, rows = pixels[-1], rows + len(pixels)
        assert rows == size[0], f"strips of {rows} rows in all, {size[0]} were announced"
        _chunk(file, b"IDAT", packer.flush())
        _chunk(file, b"IEND", b"")


def _chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


def _predicted(pixels: np.ndarray, above: np.ndarray) -> bytes:
    """Each number less the nearest to left + above − corner of those three (Paeth's filter), row by row."""
    x = pixels.astype(np.int16)
    up = np.concatenate((above[None].astype(np.int16), x[:-1]))
    left, corner = (np.pad(part, ((0, 0), (1, 0), (0, 0)))[:, :-1] for part in (x, up))
    by_left, by_up, by_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    closest = np.where(
        (by_left <= by_up) & (by_left <= by_corner), left, np.where(by_up <= by_corner, up, corner)
    )
    filtered = (x - closest).astype(np.uint8).reshape(len(x), -1)
    return np.insert(filtered, 0, 4, axis=1).tobytes()
