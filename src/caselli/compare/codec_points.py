"""Bytes and distortion of runs and of file codecs at their settings, each byte of a file counted."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image, features

from caselli.codec import (
    Archive,
    Codec,
    Coded,
    image_of,
    lossless_webp,
    optimised_png,
    serialise_archive,
    serialise_one,
)
from caselli.compare.base import kept
from caselli.data import to_float
from caselli.evaluate import Distance, ms_ssim, psnr
from caselli.figures import figure
from caselli.shapes import Shaped, Tensor

QUALITIES = {
    "JPEG": (1, 3, 6, 10, 16, 25, 40, 60, 80),
    "WebP": (0, 2, 5, 10, 20, 35, 50, 70, 85),
    "AVIF": (0, 4, 8, 14, 20, 30, 40, 55, 70),
}
"""Settings at which each file codec is measured."""
OPTIONS = {"JPEG": {"optimize": True}, "WebP": {"method": 6}, "AVIF": {"speed": 4}}
"""Pillow's options of each, for small files."""
HALVES = (1, 2, 4)
"""Divisors of the sides before the codec; decoded pictures are enlarged again."""
PNG = "PNG, optimised"
ALONE, TOGETHER = "a file each", "one archive"
EXACT, WITHOUT = "exact", "exact, without falling back"
"""Rows of a run, with loss and without."""
MEASURES = {
    "psnr": ("PSNR (dB)", "more is better", 1),
    "ms_ssim": ("MS-SSIM", "more is better", 1),
    "distance": ("perceptual distance", "less is better", -1),
}
"""Measure → its title, and the direction that is better, in words and as a sign."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A codec at one setting: means over the pictures."""

    codec: str = figure("codec")
    setting: str = figure("setting")
    bytes: float = figure("bytes", ".0f")
    """Bytes of a picture's file, header and all."""
    psnr: float | None = figure("PSNR (dB)", ".2f")
    """Quality of the decoded pictures; None without loss, as are the other measures."""
    ms_ssim: float | None = figure("MS-SSIM", ".3f")
    distance: float | None = figure("distance", ".4f")
    """Perceptual distance; less is better."""
    trained: bool
    """True for a run."""
    shown: Shaped[Tensor, "B C H W"] | None = kept()
    """Some of the decoded pictures, uint8."""


@dataclasses.dataclass(frozen=True)
class Originals:
    """Pictures that every codec is given, and their perceptual distance."""

    pictures: Shaped[Tensor, "B C H W"]
    """Pictures as uint8."""
    distance: Distance
    shown: list[int]
    """Indices of those that are shown."""

    def row(self, codec: str, setting: str, size: float, decoded: Tensor, *, trained: bool) -> Row:
        """A row with the measures of decoded pictures."""
        a, b = to_float(self.pictures), to_float(decoded)
        means = [float(measure(b, a).mean()) for measure in (psnr, ms_ssim, self.distance)]
        return Row(codec, setting, size, *means, trained, decoded[self.shown])


def file_settings() -> dict[str, tuple[str, int, int]]:
    """Label → codec, quality and divisor of the sides, for every file codec that this Pillow writes.

    Example:
        >>> file_settings()["JPEG, quality 10, 1/2 size"]
        ('JPEG', 10, 2)
    """
    codecs = [name for name in QUALITIES if name == "JPEG" or features.check(name.lower())]
    every = [(name, q, halves) for name in codecs for halves in HALVES for q in QUALITIES[name]]
    return {
        f"{name}, {_setting(quality, halves)}": (name, quality, halves) for name, quality, halves in every
    }


def _setting(quality: int, halves: int) -> str:
    return f"quality {quality}" + (f", 1/{halves} size" if halves > 1 else "")


def file_row(originals: Originals, codec: str, quality: int, halves: int) -> Row:
    """A file codec at one setting.

    Arguments:
        originals: the pictures.
        codec: JPEG, WebP or AVIF.
        quality: its setting.
        halves: divisor of the sides before the codec; decoded pictures are enlarged again.
    """
    sizes, decoded = zip(*(_through(codec, quality, halves, x) for x in originals.pictures), strict=True)
    size = sum(sizes) / len(sizes)
    return originals.row(codec, _setting(quality, halves), size, torch.stack(decoded), trained=False)


def _through(codec: str, quality: int, halves: int, picture: Tensor) -> tuple[int, Tensor]:
    """Bytes of the file, and the decoded picture."""
    image, file = image_of(_array(picture)), io.BytesIO()
    whole, mode = image.size, image.mode
    if halves > 1:
        smaller = tuple(max(1, side // halves) for side in whole)
        image = image.resize(smaller, Image.Resampling.LANCZOS)
    image.save(file, codec.upper(), quality=quality, **OPTIONS[codec])
    decoded = Image.open(io.BytesIO(file.getvalue())).convert(mode)
    if halves > 1:
        decoded = decoded.resize(whole, Image.Resampling.LANCZOS)
    pixels = np.array(decoded).reshape(*decoded.size[::-1], -1)
    return len(file.getvalue()), torch.from_numpy(pixels).permute(2, 0, 1)


def run_rows(originals: Originals, name: str, codec: Codec) -> dict[str, Row]:
    """A run's codes, in a file each and as one archive (without the pictures' names)."""
    pictures, mark = list(originals.pictures), codec.fingerprint("codes")
    singles, whole = (
        tuple(coded.group for coded in codec.compress(pictures, "codes", shared=shared))
        for shared in (False, True)
    )
    decoded = torch.cat(codec.decompress(list(whole)))
    sizes = {
        ALONE: sum(len(serialise_one(mark, group)) for group in singles),
        TOGETHER: len(serialise_archive(Archive(mark, whole, ()), "codes")),
    }
    return {
        setting: originals.row(name, setting, size / len(pictures), decoded, trained=True)
        for setting, size in sizes.items()
    }


def lossless_row(originals: Originals, name: str) -> Row:
    """A codec of `LOSSLESS`."""
    size = sum(LOSSLESS[name](_array(picture)) for picture in originals.pictures)
    return _lossless(name, size / len(originals.pictures), trained=False)


def exact_rows(originals: Originals, name: str, codec: Codec) -> dict[str, Row]:
    """A run without loss, as one archive: with PNG or WebP where they are smaller, and without."""
    pictures, count = originals.pictures, len(originals.pictures)
    coded = codec.compress(list(pictures), "exact", shared=True)
    groups = tuple(one.group for one in coded)
    size = len(serialise_archive(Archive(codec.fingerprint("exact"), groups, ()), "exact"))
    fallen = sum(group.kind != "exact" for group in groups)
    words = f"{name}, exact, one archive ({fallen} of {count} as PNG or WebP)"
    return {
        EXACT: _lossless(words, size / count, trained=True),
        WITHOUT: _lossless(f"{name}, {WITHOUT}", _by_model(codec, pictures, coded) / count, trained=True),
    }


def _by_model(codec: Codec, pictures: Tensor, coded: Sequence[Coded]) -> int:
    """Bytes of all pictures by the model alone."""
    fallen = [index for one in coded if one.group.kind != "exact" for index in one.members]
    size = sum(len(one.group.data) for one in coded if one.group.kind == "exact")
    if fallen:
        labels = torch.zeros(len(fallen), dtype=torch.int64)
        ((group, _),) = codec.coder.encode(pictures[fallen], "exact", labels)
        size += len(group.data)
    return size


def _lossless(codec: str, size: float, *, trained: bool) -> Row:
    return Row(codec, "without loss", size, None, None, None, trained)


def _array(picture: Tensor) -> np.ndarray:
    """The picture as `H W C`."""
    return picture.permute(1, 2, 0).contiguous().numpy()


def _pillow_png(pixels: np.ndarray) -> int:
    file = io.BytesIO()
    image_of(pixels).save(file, "PNG", optimize=True)
    return len(file.getvalue())


LOSSLESS: dict[str, Callable[[np.ndarray], int]] = {
    "PNG, as Pillow's optimize writes it": _pillow_png,
    PNG: lambda pixels: len(optimised_png(pixels)),
    "WebP, lossless": lambda pixels: len(lossless_webp(pixels)),
}
"""Codecs that keep every pixel: name → bytes of a picture, `H W C`."""


def by_codec(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each codec, in order."""
    return {name: [row for row in rows if row.codec == name] for name in dict.fromkeys(r.codec for r in rows)}


def at_least(rows: Sequence[Row], size: float) -> list[Row]:
    """The best row of each codec, by MS-SSIM, among those with as many bytes and up to a tenth more; or else
    the next larger one.

    Example:
        >>> ps = [Row("a", str(s), s, s, s, -s, False) for s in (50.0, 104.0, 300.0)]
        >>> [p.bytes for p in at_least(ps, 100.0)]
        [104.0]
    """
    found = []
    for own in by_codec(rows).values():
        near = [row for row in own if size <= row.bytes <= 1.1 * size]
        above = sorted((row for row in own if row.bytes > size), key=lambda row: row.bytes)
        chosen = near or above[:1]
        if chosen:
            found.append(max(chosen, key=lambda row: row.ms_ssim))
    return found


def curve(rows: Sequence[Row], measure: str) -> list[Row]:
    """The rows that no other of fewer bytes beats in a measure: a codec's curve over all its settings."""
    found: list[Row] = []
    sign = MEASURES[measure][2]
    for row in sorted(rows, key=lambda row: row.bytes):
        if not found or sign * getattr(row, measure) > sign * getattr(found[-1], measure):
            found.append(row)
    return found
