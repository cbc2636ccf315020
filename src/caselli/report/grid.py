"""Batches of pictures as one picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from caselli.data import to_bytes
from caselli.errors import UserError
from caselli.files import atomic_write
from caselli.shapes import Float, Tensor

WHITE, INK = (255, 255, 255), (84, 84, 84)
TILE = 96
"""Small pictures are enlarged by a whole factor to about this many pixels."""
LINES = 3
"""Largest number of lines of a caption under a picture."""
JPEG = ("JPEG", 65_535, {"quality": 95, "subsampling": 0})
TIFF = ("TIFF", 1 << 30, {"compression": "tiff_adobe_deflate"})
FORMATS = {
    ".png": ("PNG", 1 << 30, {}),
    ".jpg": JPEG,
    ".jpeg": JPEG,
    ".webp": ("WEBP", 16_383, {"lossless": True}),
    ".tif": TIFF,
    ".tiff": TIFF,
}
"""Ending → format by Pillow's name, most pixels a side, and options."""
PAGE_WIDTH = 1160
"""Pixels across a page: a grid no wider is shown there pixel by pixel."""


def grid(
    pictures: Float[Tensor, "B C H W"],
    columns: int | None = None,
    labels: list[str] | None = None,
    scale: int | None = None,
    gap: int = 6,
) -> Image.Image:
    """The pictures side by side on white, row by row.

    Arguments:
        pictures: grey (C = 1) or colour (C = 3), in [-1, 1].
        columns: pictures in a row; by default the grid is about twice as wide as high, and
            fits a page.
        labels: a caption under each picture, on up to three lines.
        scale: whole factor of enlargement, by repeating pixels; by default small pictures reach 96 pixels.
        gap: pixels between pictures and around them.

    Example:
        >>> import torch
        >>> grid(torch.zeros(6, 1, 32, 32), columns=3).size
        (312, 210)
    """
    tiles = _tiles(pictures, scale)
    if labels is not None and len(labels) != len(tiles):
        raise UserError(
            f"{len(labels)} labels for {len(tiles)} pictures were given", "one for each was expected"
        )
    widest = min(round(math.sqrt(2 * len(tiles))), _fitting(tiles[0].width, gap, 0))
    columns = min(columns or _balanced(len(tiles), widest), len(tiles))
    return _sheet(tiles, columns, labels, gap, margin="")


def pairs(
    originals: Float[Tensor, "B C H W"],
    reconstructions: Float[Tensor, "B C H W"],
    columns: int | None = None,
    scale: int | None = None,
    gap: int = 6,
) -> Image.Image:
    """Each original with its reconstruction right below it; the rows are named in the margin.

    Arguments:
        originals, reconstructions: pictures in [-1, 1], in the same order.
        columns: pairs in a row; by default as many as fit a page.
        scale, gap: as in `grid`.

    Example:
        >>> import torch
        >>> x = torch.zeros(4, 1, 32, 32)
        >>> pairs(x, x, columns=4).height
        210
    """
    if originals.shape != reconstructions.shape:
        raise UserError(
            f"pictures of shapes {tuple(originals.shape)} and {tuple(reconstructions.shape)} were given",
            "originals and reconstructions of one shape were expected",
        )
    above, below = _tiles(originals, scale), _tiles(reconstructions, scale)
    tile = above[0].width
    widest = _fitting(tile, gap, _margin_width(_font(tile)))
    columns = min(columns or _balanced(len(above), widest), len(above))
    rows = []
    for start in range(0, len(above), columns):
        for side, name in ((above, "original"), (below, "decoded")):
            rows.append(_sheet(side[start : start + columns], columns, None, gap, margin=name))
    return _stack(rows, gap)


def rows(
    named: Mapping[str, Float[Tensor, "B C H W"]], scale: int | None = None, gap: int = 6
) -> Image.Image:
    """One row for each name, the name in the margin: the same pictures as several methods give them.

    Arguments:
        named: name → pictures in [-1, 1], all batches of one shape.
        scale, gap: as in `grid`.

    Example:
        >>> import torch
        >>> x = torch.zeros(4, 1, 32, 32)
        >>> rows({"original": x, "vq": x, "fsq": x}).height
        312
    """
    tiles = {name: _tiles(pictures, scale) for name, pictures in named.items()}
    if len({len(row) for row in tiles.values()}) != 1:
        raise UserError("rows of different lengths were given", "as many pictures in each were expected")
    margin = _margin_width(_font(next(iter(tiles.values()))[0].width), tuple(named))
    sheets = [_sheet(row, len(row), None, gap, name, margin) for name, row in tiles.items()]
    return _stack(sheets, gap, together=len(sheets))


def save_png(image: Image.Image, path: str | Path, text: dict[str, str] | None = None) -> None:
    """Writes a PNG atomically, with `text` (how the picture was made) in its text chunks.

    Arguments:
        image: the picture.
        path: where to.
        text: keyword → value; read it back as `PIL.Image.open(path).text`.
    """
    with atomic_write(path) as temporary:
        _write_png(image, temporary, text or {})


def save_picture(image: Image.Image, path: str | Path, text: dict[str, str] | None = None) -> None:
    """Writes a picture in the format of its file's ending, atomically; how it was made stands in it.

    Arguments:
        image: the picture.
        path: a file that ends in one of `FORMATS`.
        text: keyword → value; text chunks of a PNG, the description (EXIF 270) in other formats.

    Errors: `UserError` for another ending, and for a side that the format has no room for.
    """
    ending = Path(path).suffix.lower()
    if ending == ".png":
        save_png(image, path, text)
        return
    if ending not in FORMATS:
        raise UserError(f"{path} was given", f"a file that ends in {', '.join(FORMATS)} was expected")
    format, most, options = FORMATS[ending]
    if max(image.size) > most:
        raise UserError(
            f"a picture of {image.width} × {image.height} pixels was to be written as {ending}",
            f"at most {most} a side were expected",
            "write a .png",
        )
    exif = Image.Exif()
    exif[270] = "; ".join(f"{key}: {value}" for key, value in (text or {}).items()).encode("utf-8", "replace")
    with atomic_write(path) as temporary:
        image.save(temporary, format=format, exif=exif, **options)


def _write_png(image: Image.Image, path: Path, text: dict[str, str]) -> None:
    chunks = PngImagePlugin.PngInfo()
    for key, value in text.items():
        chunks.add_itxt(key[:79] or "Comment", str(value).encode("utf-8", "replace").decode("utf-8"))
    image.save(path, format="PNG", pnginfo=chunks, optimize=True)


def _tiles(pictures: Tensor, scale: int | None) -> list[Image.Image]:
    if pictures.ndim != 4 or pictures.shape[1] not in (1, 3) or 0 in pictures.shape:
        raise UserError(
            f"pictures of shape {tuple(pictures.shape)} were given", "B C H W with C = 1 or 3 was expected"
        )
    if scale is not None and scale < 1:
        raise UserError(f"scale {scale} was given", "a whole number from 1 was expected")
    height, width = pictures.shape[-2:]
    scale = scale or max(1, round(TILE / max(height, width)))
    arrays = to_bytes(pictures.detach().cpu()).movedim(1, -1).numpy()
    if pictures.shape[1] == 1:
        arrays = arrays[..., 0]
    size = (width * scale, height * scale)
    return [Image.fromarray(array).resize(size, Image.Resampling.NEAREST) for array in arrays]


def _sheet(
    tiles: list[Image.Image],
    columns: int,
    labels: list[str] | None,
    gap: int,
    margin: str,
    margin_width: int | None = None,
) -> Image.Image:
    """Tiles in rows, captions below them, a name to the left; as wide for any number of tiles."""
    width, height = tiles[0].size
    font = _font(width)
    line = sum(font.getmetrics())
    captions = None if labels is None else [_wrapped(label, width, font) for label in labels]
    caption = 0 if captions is None else max(map(len, captions)) * line + gap + 4
    left = gap if not margin else gap + (margin_width or _margin_width(font))
    rows = math.ceil(len(tiles) / columns)
    size = (left + columns * (width + gap), gap + rows * (height + caption + gap))
    mode = tiles[0].mode
    sheet = Image.new(mode, size, _ink(mode, WHITE))
    draw = ImageDraw.Draw(sheet)
    if margin:
        draw.text((gap, gap + height / 2), margin, _ink(mode, INK), font, anchor="lm")
    for i, tile in enumerate(tiles):
        x, y = left + i % columns * (width + gap), gap + i // columns * (height + caption + gap)
        sheet.paste(tile, (x, y))
        for number, text in enumerate(captions[i] if captions else ()):
            place = x + width / 2, y + height + 3 + number * line
            draw.text(place, text, _ink(mode, INK), font, anchor="ma")
    return sheet


def _stack(sheets: list[Image.Image], gap: int, together: int = 2) -> Image.Image:
    """Sheets of one width below each other: so many close together, then a wider space."""
    spaces = [gap if i % together == together - 1 else 0 for i in range(len(sheets) - 1)]
    height = sum(sheet.height - gap for sheet in sheets) + sum(spaces) + gap
    joined = Image.new(sheets[0].mode, (sheets[0].width, height), _ink(sheets[0].mode, WHITE))
    y = 0
    for sheet, space in zip(sheets, [*spaces, 0], strict=True):
        joined.paste(sheet, (0, y))
        y += sheet.height - gap + space
    return joined


def _ink(mode: str, colour: tuple[int, int, int]) -> int | tuple[int, int, int]:
    return colour[0] if mode == "L" else colour


def _font(width: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=max(10, min(15, width // 6)))


def _balanced(count: int, widest: int) -> int:
    """Columns that fill the rows of `widest` evenly."""
    return math.ceil(count / math.ceil(count / max(widest, 1)))


def _fitting(width: int, gap: int, margin: int) -> int:
    """Number of pictures of this width that stand side by side on a page."""
    return max(1, (PAGE_WIDTH - gap - margin) // (width + gap))


def _margin_width(font: ImageFont.FreeTypeFont, names: tuple[str, ...] = ("original", "decoded")) -> int:
    return math.ceil(max(font.getlength(name) for name in names)) + 6


def _wrapped(text: str, width: int, font: ImageFont.FreeTypeFont, most: int = LINES) -> list[str]:
    """The text in lines no wider than the picture; what does not fit in the last is cut."""
    lines: list[str] = []
    words = " ".join(str(text).split()).split(" ")
    while words and len(lines) < most:
        fits = next((n for n in range(len(words), 1, -1) if font.getlength(" ".join(words[:n])) <= width), 1)
        last = len(lines) == most - 1
        lines.append(_fitted(" ".join(words if last else words[:fits]), width, font))
        words = words[fits:]
    return lines


def _fitted(text: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    """The text, cut with an ellipsis where it is wider than the picture."""
    text = " ".join(str(text).split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"
