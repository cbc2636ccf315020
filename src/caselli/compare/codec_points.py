"""Runs and the codecs of files at their settings, each byte of a file counted."""

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
"""Settings at which each codec of files is measured."""
HALVES = (1, 2, 4)
"""Divisors of the sides before the codec; what comes back is enlarged."""
PNG = "PNG, optimised"
ALONE, TOGETHER = "a file each", "one archive"
EXACT, WITHOUT = "exact", "exact, without falling back"
"""Rows of a run, with loss and without."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A codec at one setting: means over the pictures."""

    codec: str = figure("codec")
    setting: str = figure("setting")
    bytes: float = figure("bytes", ".0f")
    """Bytes of a picture's file, header and all."""
    psnr: float | None = figure("PSNR (dB)", ".2f")
    """None without loss, as are the other measures."""
    ms_ssim: float | None = figure("MS-SSIM", ".3f")
    distance: float | None = figure("distance", ".4f")
    """Perceptual distance; less is better."""
    trained: bool
    """True for a run."""
    shown: Shaped[Tensor, "B C H W"] | None = kept()
    """Some of the pictures that come back, uint8."""


@dataclasses.dataclass(frozen=True)
class Originals:
    """Pictures that every codec gets, and how they are judged."""

    pictures: Shaped[Tensor, "B C H W"]
    """uint8."""
    distance: Distance
    shown: list[int]
    """Indices of those that are shown."""

    def row(self, codec: str, setting: str, size: float, decoded: Tensor, *, trained: bool) -> Row:
        """A row from what came back."""
        a, b = to_float(self.pictures), to_float(decoded)
        means = [float(f(b, a).mean()) for f in (psnr, ms_ssim, self.distance)]
        return Row(codec, setting, size, *means, trained, decoded[self.shown])

    def arrays(self) -> list[np.ndarray]:
        """The pictures as `H W C`."""
        return [picture.permute(1, 2, 0).contiguous().numpy() for picture in self.pictures]


def file_codecs() -> list[str]:
    """Those of `QUALITIES` that this Pillow writes.

    Example:
        >>> "JPEG" in file_codecs()
        True
    """
    return [name for name in QUALITIES if name == "JPEG" or features.check(name.lower())]


def file_row(originals: Originals, codec: str, quality: int, halves: int) -> Row:
    """A codec of files at one setting.

    Arguments:
        originals: the pictures.
        codec: JPEG, WebP or AVIF.
        quality: its setting.
        halves: divisor of the sides before the codec; what comes back is enlarged.
    """
    there = [_through(codec, quality, halves, picture) for picture in originals.pictures]
    size = sum(size for size, _ in there) / len(there)
    decoded = torch.stack([picture for _, picture in there])
    return originals.row(codec, setting_of(quality, halves), size, decoded, trained=False)


def setting_of(quality: int, halves: int) -> str:
    """The setting in words.

    Example:
        >>> setting_of(10, 2)
        'quality 10, 1/2 size'
    """
    return f"quality {quality}" + (f", 1/{halves} size" if halves > 1 else "")


def _through(codec: str, quality: int, halves: int, picture: Tensor) -> tuple[int, Tensor]:
    """Bytes of the file, and the picture that is in it."""
    image = image_of(picture.permute(1, 2, 0).contiguous().numpy())
    whole, mode, file = image.size, image.mode, io.BytesIO()
    if halves > 1:
        smaller = tuple(max(1, side // halves) for side in whole)
        image = image.resize(smaller, Image.Resampling.LANCZOS)
    options = {"JPEG": {"optimize": True}, "WebP": {"method": 6}, "AVIF": {"speed": 4}}[codec]
    image.save(file, codec.upper(), quality=quality, **options)
    decoded = Image.open(io.BytesIO(file.getvalue())).convert(mode)
    if halves > 1:
        decoded = decoded.resize(whole, Image.Resampling.LANCZOS)
    pixels = np.array(decoded).reshape(*decoded.size[::-1], -1)
    return len(file.getvalue()), torch.from_numpy(pixels).permute(2, 0, 1)


def run_rows(originals: Originals, name: str, codec: Codec) -> dict[str, Row]:
    """A run of the kind `codes`: in a file each, and as one archive (its names left out)."""
    pictures = list(originals.pictures)
    singles, whole = (
        [coded.group for coded in codec.compress(pictures, "codes", shared=shared)]
        for shared in (False, True)
    )
    decoded = torch.cat(codec.decompress(whole))
    mark, count = codec.fingerprint("codes"), len(pictures)
    sizes = {
        ALONE: sum(len(serialise_one(mark, group)) for group in singles) / count,
        TOGETHER: len(serialise_archive(Archive(mark, tuple(whole), ()), "codes")) / count,
    }
    return {
        setting: originals.row(name, setting, size, decoded, trained=True) for setting, size in sizes.items()
    }


def lossless_row(originals: Originals, name: str) -> Row:
    """A codec of `LOSSLESS`."""
    return _lossless(name, sum(LOSSLESS[name](x) for x in originals.arrays()) / len(originals.pictures))


def exact_rows(originals: Originals, name: str, codec: Codec) -> dict[str, Row]:
    """A run of the kind `exact`, with falling back on PNG and WebP and without."""
    pictures = originals.pictures
    coded = codec.compress(list(pictures), "exact", shared=True)
    groups = tuple(one.group for one in coded)
    size = len(serialise_archive(Archive(codec.fingerprint("exact"), groups, ()), "exact")) / len(pictures)
    fallen = sum(group.kind != "exact" for group in groups)
    words = f"{name}, exact, one archive ({fallen} of {len(pictures)} as PNG or WebP)"
    return {
        EXACT: _lossless(words, size, trained=True),
        WITHOUT: _lossless(f"{name}, {WITHOUT}", _alone(codec, pictures, coded), trained=True),
    }


def _lossless(codec: str, size: float, *, trained: bool = False) -> Row:
    return Row(codec, "without loss", size, None, None, None, trained)


def _alone(codec: Codec, originals: Tensor, coded: Sequence[Coded]) -> float:
    """Mean bytes with every picture through the model."""
    fallen = [index for one in coded if one.group.kind != "exact" for index in one.members]
    size = sum(len(one.group.data) for one in coded if one.group.kind == "exact")
    if fallen:
        stack = originals[fallen]
        ((group, _),) = codec.coder.encode(stack, "exact", torch.zeros(len(stack), dtype=torch.int64))
        size += len(group.data)
    return size / len(originals)


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


def at_least(points: Sequence[Row], size: float) -> list[Row]:
    """The best row of each codec, by MS-SSIM, among those with as many bytes and up to a tenth more; or else
    the next larger one.

    Example:
        >>> ps = [Row("a", str(s), s, s, s, -s, False) for s in (50.0, 104.0, 300.0)]
        >>> [p.bytes for p in at_least(ps, 100.0)]
        [104.0]
    """
    found = []
    for codec in dict.fromkeys(point.codec for point in points):
        own = [point for point in points if point.codec == codec]
        near = [point for point in own if size <= point.bytes <= 1.1 * size]
        above = sorted((point for point in own if point.bytes > size), key=lambda point: point.bytes)
        chosen = near or above[:1]
        if chosen:
            found.append(max(chosen, key=lambda point: point.ms_ssim))
    return found


def curve(points: list[Row], measure: str, better: Callable[[float, float], bool]) -> list[Row]:
    """The points that no other of fewer bytes beats: a codec's curve over all its settings."""
    kept: list[Row] = []
    for point in sorted(points, key=lambda point: point.bytes):
        if not kept or better(getattr(point, measure), getattr(kept[-1], measure)):
            kept.append(point)
    return kept
