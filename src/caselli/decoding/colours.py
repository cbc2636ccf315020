"""Colours of a decoded picture: brought to sRGB, laid on white, grey or not."""

from __future__ import annotations

import functools
import io

import numpy as np
from PIL import Image, ImageCms

SAME_LEVELS = 2
"""A colour profile that moves no colour by more levels than this is sRGB; most pictures carry such a one."""

GAMMA = b"gAMA"
"""Name of a PNG's chunk, and the beginning of what `own_colours` gives of it."""


def own_colours(image: Image.Image) -> bytes:
    """A file's own words on its colours: its ICC profile; else the chunk of a PNG that names a gamma other
    than sRGB's, with its name; empty where it says nothing, or sRGB.

    Source: the specification of PNG, third edition: a profile and sRGB go before gAMA; libpng for the bounds.
    """
    gamma = image.info.get("gamma", 0)
    if profile := image.info.get("icc_profile"):
        return profile
    if "srgb" in image.info or not 0.00016 <= gamma <= 6250 or abs(2.2 * gamma - 1) < 0.05:
        return b""
    return GAMMA + round(100_000 * gamma).to_bytes(4, "big")


def in_srgb(image: Image.Image) -> Image.Image:
    """The picture with its colours in sRGB, by the profile or the gamma that it carries; left as it is
    without one, with a broken one, and where it says sRGB.

    Source: ICC.1:2022; the conversion is that of LittleCMS, perceptual.
    """
    profile = own_colours(image)
    if not profile:
        return image
    if image.mode in ("P", "PA", "1"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.mode in ("L", "RGB") and image.has_transparency_data:
        image = image.convert(f"{image.mode}A")  # the transparent colour is one of those that move
    if profile.startswith(GAMMA):
        alpha = image.mode in ("LA", "RGBA")
        levels = _levels_of_gamma(int.from_bytes(profile[4:], "big") / 100_000)
        return image.point(levels * (len(image.getbands()) - alpha) + list(range(256)) * alpha)
    modes = {"L": ("L", "RGB"), "LA": ("L", "RGB"), "RGB": ("RGB", "RGB"), "RGBA": ("RGBA", "RGBA")}
    source, target = modes.get(image.mode, (image.mode, "RGB"))
    transform = _to_srgb(profile, source, target)
    if transform is None:
        return image
    if image.mode not in ("L", "LA"):
        found = ImageCms.applyTransform(image, transform)
        found.info = {name: value for name, value in image.info.items() if name != "icc_profile"}
        return found
    grey = ImageCms.applyTransform(image.getchannel(0), transform).convert("L")
    return Image.merge("LA", (grey, image.getchannel(1))) if image.mode == "LA" else grey


@functools.lru_cache(maxsize=32)
def _levels_of_gamma(gamma: float) -> list[int]:
    """Level of sRGB of each level s that was made of light by a power: light = (s / 255)^(1 / gamma).

    Source: the specification of PNG, gAMA; IEC 61966-2-1.
    """
    light = (np.arange(256) / 255) ** (1 / gamma)
    levels = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(255 * levels).astype(int).tolist()


@functools.lru_cache(maxsize=32)
def _to_srgb(profile: bytes, source: str, target: str) -> ImageCms.ImageCmsTransform | None:
    """The conversion to sRGB; None for a profile that is broken, of other channels, or sRGB to the eye."""
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(given, ImageCms.createProfile("sRGB"), source, target)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    if source not in ("RGB", "RGBA"):
        return transform
    levels = np.stack(np.meshgrid(*[np.arange(0, 256, 17, dtype=np.uint8)] * 3), -1).reshape(1, -1, 3)
    test = Image.fromarray(levels).convert(source)
    moved = np.asarray(ImageCms.applyTransform(test, transform)).astype(int) - np.asarray(test)
    return transform if np.abs(moved).max() > SAME_LEVELS else None


def flat(image: Image.Image) -> Image.Image:
    """Any mode of 8 bits as `L` or `RGB`; what is transparent becomes white."""
    if image.has_transparency_data:
        colour = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), colour).convert("RGB")
    return in_mode(image, "L" if image.mode in ("1", "L") else "RGB")


def in_mode(image: Image.Image, mode: str) -> Image.Image:
    """The picture in a mode; itself where it has it, of which Pillow would make a copy."""
    return image if image.mode == mode else image.convert(mode)
