"""Picture files as they are: every channel, neither cropped nor resized."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from caselli.codec.codec import MOST_PIXELS
from caselli.codec.depth import bits_per_sample
from caselli.codec.lossless import MODES
from caselli.codec.profiles import MOST_BYTES
from caselli.data import picture_bytes
from caselli.decoding import formats, oriented, own_colours, with_scaled_key
from caselli.errors import UserError, is_out_of_memory
from caselli.shapes import Shaped, Tensor


@dataclasses.dataclass(frozen=True)
class EveryPixel:
    """All that is kept of a picture file."""

    pixels: Shaped[Tensor, "C H W"]
    """Uint8, upright: grey or colour, with alpha where it has that."""
    profile: bytes
    """Its ICC profile, or a PNG's gamma as `own_colours` gives it; empty where it has none."""
    note: str
    """A sentence on what was left out; empty as a rule."""


def every_pixel(path: Path, allow_large: bool = False) -> EveryPixel:
    """A picture file's pixels and colour profile; a palette is looked up.

    Errors: `UserError` for what is no picture, has more than 8 bits a sample, several frames, or too many
    pixels.
    """
    data = picture_bytes(path)
    with _one_line(path):
        image = with_scaled_key(Image.open(io.BytesIO(data), formats=formats()), data)
        _expect_size(path, image, allow_large)
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":
            raise UserError(f"{path} has {frames} frames", "a single picture was expected")
        _expect_depth(path, bits_per_sample(image, data))
        _expect_channels(path, image)
        image.load()
        profile = own_colours(image)
        image = oriented(image)
        mode = _mode(image, path)
        pixels = np.array(image.convert(mode))
    if len(profile) > MOST_BYTES:
        raise UserError(
            f"{path} has a colour profile of {len(profile)} bytes", f"up to {MOST_BYTES} were expected"
        )
    pixels = torch.from_numpy(pixels.reshape(image.height, image.width, -1)).permute(2, 0, 1).contiguous()
    # the others of a camera's several pictures are previews, or the other eye's
    note = f"{path}: the first of its {frames} pictures is kept" if frames > 1 else ""
    return EveryPixel(pixels, profile, note)


def _mode(image: Image.Image, path: Path) -> str:
    """The mode of 8 bits that holds all that the picture has."""
    plain = {"1": "L", "P": "RGB", "L": "L", "LA": "LA", "RGB": "RGB", "RGBA": "RGBA", "PA": "RGBA"}
    if image.mode not in plain:
        raise UserError(
            f"{path} has pixels of kind {image.mode}", f"one of {', '.join(MODES.values())} was expected"
        )
    mode = plain[image.mode]
    if image.has_transparency_data and mode in ("L", "RGB"):
        return "LA" if mode == "L" else "RGBA"
    return mode


@contextlib.contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Makes whatever Pillow raises and warns of a `UserError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UserError:
        raise
    except UnidentifiedImageError:
        raise UserError(f"{path} cannot be read (no picture)", "a picture was expected") from None
    except Exception as error:  # Pillow's decoders raise anything at all on broken files
        if is_out_of_memory(error):
            raise
        reason = str(error) or type(error).__name__
        raise UserError(f"{path} cannot be decoded ({reason})", "a whole picture was expected") from None


def _expect_size(path: Path, image: Image.Image, allow_large: bool) -> None:
    if image.width * image.height > MOST_PIXELS and not allow_large:
        raise UserError(
            f"{path} has {image.width} × {image.height} pixels",
            f"up to {MOST_PIXELS} were expected",
            "add --allow-large if this is meant",
        )


def _expect_depth(path: Path, bits: int | None) -> None:
    if bits is None or bits > 8:
        raise UserError(
            f"{path} has {f'{bits} bits a sample' if bits else 'samples of an unknown depth'}",
            "8 bits were expected: exact keeps every sample or none",
            "make it a PNG of 8 bits",
        )


def _expect_channels(path: Path, image: Image.Image) -> None:
    """Raises a `UserError` for channels of a TIFF that Pillow drops, and for colours multiplied by alpha."""
    tags = getattr(image, "tag_v2", {})
    channels, premultiplied = tags.get(277, 1), 1 in tags.get(338, ())
    if tags and (channels != len(image.getbands()) or premultiplied):
        raise UserError(
            f"{path} has {channels} channels{', multiplied by alpha' if premultiplied else ''}",
            "grey or colour, with alpha or without, was expected: exact keeps every sample or none",
            "make it a PNG of 8 bits",
        )
