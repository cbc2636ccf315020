"""Letters and digits drawn from fonts: the embedded set."""

from __future__ import annotations

import functools
import importlib.util
import math
import string
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch.nn import functional as F

from caselli.data.pictures import Pictures
from caselli.data.pixels import to_bytes, with_channels
from caselli.data.shuffle import generator
from caselli.data.source import Request, Source
from caselli.errors import UserError
from caselli.shapes import Float, Int, Shaped, Tensor

CLASSES = tuple(string.digits + string.ascii_uppercase + string.ascii_lowercase)
"""0 … 9, A … Z, a … z: a label is asked for by its character."""

FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    *("cmr10", "cmb10", "cmss10", "cmtt10", "cmti10"),
)
"""The text fonts that matplotlib ships; its symbol, size, display and mathematics fonts lack letters."""

TRAIN, HELD_OUT = 20_000, 40 * len(CLASSES)
"""Numbers of pictures for training, and held out."""

SIZE = 32
EM = 0.75
"""The em square, as a share of the picture's side."""
BASELINE = 0.31
"""Distance of the baseline below the middle, in em."""
MARGIN = 1 / 32
"""Paper that stays free at each side, as a share of the picture's side; at least a pixel."""
ROTATION, SHEAR, SCALE, SHIFT = math.radians(10), 0.15, 0.08, 0.09
"""The largest rotation (radians), shear, change of scale, and shift (share of the side), to either side.

Scale varies little, because the height alone tells c from C, o from O, s from S."""
CHUNK = 512


class Glyphs(Source):
    """Letters and digits in black on white, from the text fonts that matplotlib ships, randomly warped.

    62 classes in the order of `CLASSES`, as good as equally many of each; 20,000 pictures for training and
    2,480 more held out (40 a class), grey, of 32 × 32 pixels unless another size is asked for. Ink on white
    is what printed letters look like, and what pictures with transparency become. Every glyph keeps its
    relative size and stands on one baseline before it is warped. The same seed draws the same pictures.
    """

    classes = CLASSES
    expected = "'glyphs' (letters and digits, embedded)"

    @staticmethod
    def accepts(source: str) -> bool:
        return source == "glyphs"

    @staticmethod
    def open(source: str, request: Request) -> Pictures:
        size = request.size or SIZE
        counts = {"train": TRAIN, "held_out": HELD_OUT}
        drawn = [draw_glyphs(count, size, request.seed, split) for split, count in counts.items()]
        pixels, labels = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        return Pictures.of(
            "glyphs",
            with_channels(pixels, request.channels or 1),
            [f"{split}/{i:06}" for split, count in counts.items() for i in range(count)],
            torch.arange(len(pixels)) >= TRAIN,
            classes=CLASSES,
            labels=labels,
        )


def draw_glyphs(
    count: int, size: int, seed: int, split: str
) -> tuple[Shaped[Tensor, "n 1 S S"], Int[Tensor, "n"]]:
    """Pictures (uint8) and labels; the classes take turns, so that all are equally frequent.

    Example:
        >>> pictures, labels = draw_glyphs(3, 16, 0, "train")
        >>> pictures.shape, [CLASSES[label] for label in labels]
        (torch.Size([3, 1, 16, 16]), ['0', '1', '2'])
    """
    labels = torch.arange(count) % len(CLASSES)
    return draw_labels(labels, size, generator("glyphs", seed, split)), labels


def draw_labels(labels: Int[Tensor, "n"], size: int, random: torch.Generator) -> Shaped[Tensor, "n 1 S S"]:
    """A picture (uint8) of each label's character, in a random font, randomly warped."""
    masters, boxes = _masters(min(4 * size, 256))
    count = len(labels)
    fonts = torch.randint(len(masters), (count,), generator=random)
    warps = _warps(boxes[fonts, labels], torch.rand(count, 6, generator=random, dtype=torch.float64), size)
    parts = [
        _warped(masters[fonts[i : i + CHUNK], labels[i : i + CHUNK]], warps[i : i + CHUNK], size)
        for i in range(0, count, CHUNK)
    ]
    return torch.cat(parts) if parts else torch.zeros(0, 1, size, size, dtype=torch.uint8)


def _warps(boxes: Float[Tensor, "n 4"], random: Float[Tensor, "n 6"], size: int) -> Float[Tensor, "n 2 3"]:
    """Affine maps from the picture to the master, such that each glyph's box stays inside the picture.

    Coordinates run from −1 to 1. The glyph's map is x ↦ Ax + t, A = rotation · shear · scale.
    """
    spread = 2 * random - 1
    angle, shear = ROTATION * spread[:, 0], SHEAR * spread[:, 1]
    wide, high = (torch.exp(SCALE * spread[:, i]) for i in (2, 3))
    cos, sin = angle.cos(), angle.sin()
    rotation = torch.stack([cos, -sin, sin, cos], -1).view(-1, 2, 2)
    shearing = torch.stack([wide, shear * high, torch.zeros_like(wide), high], -1).view(-1, 2, 2)
    forward = rotation @ shearing
    corners = boxes[:, [[0, 1], [2, 1], [0, 3], [2, 3]]]  # n 4 2
    room = 2 * (1 - 2 * max(MARGIN, 1 / size))
    extent = (corners @ forward.mT).amax(1) - (corners @ forward.mT).amin(1)
    forward = forward * (room / extent).amin(1).clamp(max=1)[:, None, None]
    placed = corners @ forward.mT
    shift = 2 * SHIFT * spread[:, 4:]
    shift = shift.maximum(-room / 2 - placed.amin(1)).minimum(room / 2 - placed.amax(1))
    inverse = torch.linalg.inv(forward)
    return torch.cat([inverse, -inverse @ shift[:, :, None]], 2)


def _warped(masters: Shaped[Tensor, "n M M"], warps: Float[Tensor, "n 2 3"], size: int) -> Tensor:
    """Twice as fine as asked for, then averaged: smooth edges at any angle."""
    grid = F.affine_grid(warps.float(), (len(masters), 1, 2 * size, 2 * size), align_corners=False)
    ink = F.grid_sample(masters[:, None].float().div_(255), grid, align_corners=False)
    return to_bytes(1 - 2 * F.avg_pool2d(ink, 2))


@functools.lru_cache(maxsize=4)
def _masters(side: int) -> tuple[Shaped[Tensor, "F K M M"], Float[Tensor, "F K 4"]]:
    """Every character in every font, large, and the box of its ink (left, top, right, bottom in −1 … 1)."""
    masters = np.stack([[_rendered(path, character, side) for character in CLASSES] for path in _paths()])
    boxes = [[Image.fromarray(ink).getbbox() for ink in font] for font in masters]
    return torch.from_numpy(masters), torch.tensor(boxes, dtype=torch.float64) * (2 / side) - 1


def _paths() -> list[Path]:
    spec = importlib.util.find_spec("matplotlib")  # the package itself takes long to import
    folder = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf"
    paths = [folder / f"{name}.ttf" for name in FONTS]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise UserError(
            f"matplotlib's fonts {', '.join(missing)} are not in {folder}",
            "the fonts that matplotlib ships were expected",
            "pip install --force-reinstall matplotlib",
        )
    return paths


def _rendered(path: Path, character: str, side: int) -> np.ndarray:
    font = _font(path, round(EM * side))
    image = Image.new("L", (side, side))
    position = (side / 2, round(side / 2 + BASELINE * EM * side))
    ImageDraw.Draw(image).text(position, character, fill=255, font=font, anchor="ms")
    return np.asarray(image)


@functools.lru_cache(maxsize=2)
def _font(path: Path, pixels: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), pixels, layout_engine=ImageFont.Layout.BASIC)
