"""Rate against distortion: runs as codecs beside the codecs of files, each byte of a file counted."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterable, Sequence

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
from caselli.data import to_float
from caselli.evaluate.perceptual import Distance
from caselli.evaluate.pictures import ms_ssim, psnr
from caselli.shapes import Shaped, Tensor

QUALITIES = {
    "JPEG": (1, 3, 6, 10, 16, 25, 40, 60, 80),
    "WebP": (0, 2, 5, 10, 20, 35, 50, 70, 85),
    "AVIF": (0, 4, 8, 14, 20, 30, 40, 55, 70),
}
"""Settings at which each codec of files is measured."""
HALVES = (1, 2, 4)
"""What the sides are divided by before the codec, and enlarged by after it."""


@dataclasses.dataclass(frozen=True)
class Point:
    """A codec at one setting: means over the pictures."""

    codec: str
    setting: str
    bytes: float
    """Of a file each, header and all."""
    psnr: float
    ms_ssim: float
    distance: float
    """Perceptual; less is better."""
    pictures: Shaped[Tensor, "B C H W"]
    """What comes back."""


@dataclasses.dataclass(frozen=True)
class Lossless:
    """A codec that keeps every pixel: mean bytes of a picture."""

    codec: str
    bytes: float


def file_codecs() -> list[str]:
    """Those of `QUALITIES` that this Pillow writes.

    Example:
        >>> "JPEG" in file_codecs()
        True
    """
    return [name for name in QUALITIES if name == "JPEG" or features.check(name.lower())]


def measured(
    codec: str,
    setting: str,
    size: float,
    originals: Shaped[Tensor, "B C H W"],
    decoded: Shaped[Tensor, "B C H W"],
    distance: Distance,
) -> Point:
    """A point from what went in and what came back."""
    a, b = to_float(originals), to_float(decoded)
    means = [float(f(b, a).mean()) for f in (psnr, ms_ssim, distance)]
    return Point(codec, setting, size, *means, decoded)


def file_points(
    codec: str,
    originals: Shaped[Tensor, "B C H W"],
    distance: Distance,
    say: Callable[[str], None] = lambda words: None,
) -> list[Point]:
    """A codec of files at its settings.

    Arguments:
        codec: JPEG, WebP or AVIF.
        originals: uint8.
        distance: perceptual.
        say: told each setting.
    """
    points = []
    for halves in HALVES:
        for quality in QUALITIES[codec]:
            say(f"{codec} at quality {quality}, 1/{halves} of the size")
            there = [_through(codec, quality, halves, picture) for picture in originals]
            size = sum(size for size, _ in there) / len(there)
            decoded = torch.stack([picture for _, picture in there])
            setting = f"quality {quality}" + (f", 1/{halves} size" if halves > 1 else "")
            points.append(measured(codec, setting, size, originals, decoded, distance))
    return points


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


def run_points(
    name: str, codec: Codec, originals: Shaped[Tensor, "B C H W"], distance: Distance
) -> tuple[Point, Point]:
    """A run of the kind `codes`: in a file each, and as one archive (its names left out)."""
    singles, whole = (
        [coded.group for coded in codec.compress(list(originals), "codes", shared=shared)]
        for shared in (False, True)
    )
    decoded = torch.cat(codec.decompress(whole))
    mark = codec.fingerprint("codes")
    alone = sum(len(serialise_one(mark, group)) for group in singles) / len(originals)
    together = len(serialise_archive(Archive(mark, tuple(whole), ()), "codes")) / len(originals)
    return (
        measured(name, "a file each", alone, originals, decoded, distance),
        measured(name, "one archive", together, originals, decoded, distance),
    )


def lossless_sizes(codecs: dict[str, Codec], originals: Shaped[Tensor, "B C H W"]) -> list[Lossless]:
    """Bytes of the pictures without loss: PNG, WebP, and each run with and without falling back on them."""
    arrays = [picture.permute(1, 2, 0).contiguous().numpy() for picture in originals]
    found = [
        Lossless("PNG, as Pillow's optimize writes it", _mean(_pillow_png(x) for x in arrays)),
        Lossless("PNG, optimised", _mean(len(optimised_png(x)) for x in arrays)),
        Lossless("WebP, lossless", _mean(len(lossless_webp(x)) for x in arrays)),
    ]
    for name, codec in codecs.items():
        coded = codec.compress(list(originals), "exact", shared=True)
        groups = tuple(one.group for one in coded)
        size = len(serialise_archive(Archive(codec.fingerprint("exact"), groups, ()), "exact"))
        fallen = sum(group.kind != "exact" for group in groups)
        words = f"{name}, exact, one archive ({fallen} of {len(originals)} as PNG or WebP)"
        found.append(Lossless(words, size / len(originals)))
        found.append(Lossless(f"{name}, exact, without falling back", _alone(codec, originals, coded)))
    return found


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


def _mean(sizes: Iterable[int]) -> float:
    sizes = list(sizes)
    return sum(sizes) / len(sizes)


def at_least(points: list[Point], size: float) -> list[Point]:
    """Of each codec the best point, by MS-SSIM, of those that have as many bytes and up to a tenth more; or
    else the next larger one.

    Example:
        >>> none = torch.zeros(0, 1, 1, 1)
        >>> ps = [Point("a", str(s), s, s, s, -s, none) for s in (50.0, 104.0, 300.0)]
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


def curve(points: list[Point], measure: str, better: Callable[[float, float], bool]) -> list[Point]:
    """The points that no other of fewer bytes beats: a codec's curve over all its settings."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda point: point.bytes):
        if not kept or better(getattr(point, measure), getattr(kept[-1], measure)):
            kept.append(point)
    return kept
