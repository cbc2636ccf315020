"""Crops of maps laid of the tiles of Dungeon Crawl Stone Soup, for the guide's page of the canvas.

    python docs/maps.py TILES OUT [COUNT]

TILES has a folder of 32×32 PNGs for each group of https://github.com/crawl/tiles (CC0): `dngn_floor`,
`dngn_wall`, `dngn_water`, `dngn_trees`. OUT gets a folder for each land, with COUNT crops (800) of 64×64.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
from PIL import Image

LANDS = {
    "coast": ("water/shoals_deep_water", "water/shoals_shallow_water", "floor/sand", "wall/shoals_wall"),
    "meadow": ("water/shoals_shallow_water", "floor/grass_flowers_yellow", "floor/grass", "trees/mangrove"),
    "ice": ("floor/frozen", "floor/ice", "floor/ice", "wall/crystal_wall"),
    "ruins": ("floor/dirt", "floor/limestone", "floor/limestone", "wall/brick_brown"),
}
"""The kinds of tiles of a land, by height."""
LEVELS = (0.25, 0.4, 0.7)
"""Shares of a land below the second, third and fourth kind."""
TILE, CROP, GRID = 16, 64, 8
"""Pixels of a tile on the map, of a crop, and between the places where a crop may begin."""
SIDE = 24
"""Tiles along a map's side."""


def main(tiles: Path, out: Path, count: int) -> None:
    """Writes the crops: 20 of each map."""
    random = np.random.default_rng(0)
    for land, kinds in LANDS.items():
        (out / land).mkdir(parents=True, exist_ok=True)
        drawn = [_read(tiles, kind) for kind in kinds]
        ground = drawn[2][0]
        for number in range(count):
            if number % 20 == 0:
                whole = _map(drawn, ground, random)
            y, x = random.integers((SIDE * TILE - CROP) // GRID + 1, size=2) * GRID
            Image.fromarray(whole[y : y + CROP, x : x + CROP]).save(out / land / f"{number:04}.png")


def _read(tiles: Path, kind: str) -> list[Image.Image]:
    group, name = kind.split("/")
    folder = tiles / f"dngn_{group}"
    files = [file for file in sorted(folder.glob("*.png")) if re.fullmatch(name + r"\d+", file.stem)]
    return [_without_white(Image.open(file)).resize((TILE, TILE), Image.Resampling.BOX) for file in files]


def _without_white(image: Image.Image) -> Image.Image:
    """White is what a tile leaves free."""
    pixels = np.array(image.convert("RGBA"))
    pixels[(pixels[..., :3] == 255).all(-1)] = 0
    return Image.fromarray(pixels)


def _map(kinds: list[list[Image.Image]], ground: Image.Image, random: np.random.Generator) -> np.ndarray:
    height = np.array(Image.fromarray(random.random((8, 8)).astype(np.float32)).resize((SIDE, SIDE), 3))
    level = np.searchsorted(np.quantile(height, LEVELS), height)
    whole = Image.new("RGBA", (SIDE * TILE, SIDE * TILE))
    for row in range(SIDE):
        for column in range(SIDE):
            place = column * TILE, row * TILE
            kind = kinds[level[row, column]]
            whole.alpha_composite(ground, place)  # a tree stands on it
            whole.alpha_composite(kind[random.integers(len(kind))], place)
    return np.array(whole.convert("RGB"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 800)
