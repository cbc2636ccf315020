"""Grids, pairs, PNG files and plots."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from caselli.data import to_bytes
from caselli.errors import UserError
from caselli.report import curves, grid, pairs, save_png, sorted_counts
from caselli.report.plots import thin

pytestmark = pytest.mark.drawn


def _pictures(n: int, channels: int = 1, side: int = 8) -> torch.Tensor:
    return torch.linspace(-1, 1, n * channels * side * side).view(n, channels, side, side)


@pytest.mark.parametrize("channels,mode", [(1, "L"), (3, "RGB")])
def test_every_picture_stands_in_its_place_pixel_by_pixel(channels, mode):
    pictures = _pictures(5, channels)
    image = grid(pictures, columns=3, scale=2, gap=4)
    assert image.mode == mode and image.size == (4 + 3 * 20, 4 + 2 * 20)
    array = np.asarray(image).reshape(*image.size[::-1], channels)
    for i in range(5):
        y, x = 4 + i // 3 * 20, 4 + i % 3 * 20
        shown = array[y : y + 16 : 2, x : x + 16 : 2]
        assert (shown == to_bytes(pictures)[i].movedim(0, -1).numpy()).all()
        assert (array[y + 1 : y + 16 : 2, x + 1 : x + 16 : 2] == shown).all()
    assert (array[24:, 44:] == 255).all()  # the sixth place is white


def test_captions_are_written_below_and_long_ones_are_cut():
    bare = grid(torch.ones(4, 1, 32, 32), columns=2)
    named = grid(torch.ones(4, 1, 32, 32), columns=2, labels=["a", "b", "c", "a very long caption " * 9])
    assert named.width == bare.width and named.height > bare.height
    below = np.asarray(named)[6 + 96 : 6 + 96 + 20]
    assert below.min() < 128 and np.asarray(bare).min() == 255


def test_a_grid_fits_a_page_by_default():
    for side in (8, 32, 64, 256):
        assert grid(torch.zeros(100, 1, side, side)).width <= 1160
        assert pairs(torch.zeros(40, 1, side, side), torch.zeros(40, 1, side, side)).width <= 1160
    assert grid(torch.zeros(2, 1, 2000, 2000)).width == 2012


def test_pairs_alternate_originals_and_reconstructions():
    black, grey = torch.full((5, 1, 8, 8), -1.0), torch.zeros(5, 1, 8, 8)
    image = pairs(black, grey, columns=3, scale=4, gap=2)
    column = np.asarray(image)[:, -3]  # through the last column: two pairs, the second row only white
    runs = [int(v) for v, before in zip(column[1:], column[:-1], strict=True) if v != before]
    assert runs == [0, 255, 128, 255]
    first = np.asarray(image)[:, image.width - 2 * 34 - 20]
    assert sorted(set(first.tolist())) == [0, 128, 255]
    assert [int(v) for v in first if v < 255][:32] == [0] * 32


def test_png_keeps_its_text_and_replaces_what_was_there(tmp_path):
    path = tmp_path / "new" / "a.png"
    for seed in (1, 2):
        save_png(grid(_pictures(2)), path, {"caselli": f"sample --seed {seed}", "label": "ä ∑ \udcff"})
    with Image.open(path) as image:
        assert image.text == {"caselli": "sample --seed 2", "label": "ä ∑ ?"}
        assert np.array_equal(np.asarray(image), np.asarray(grid(_pictures(2))))
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    "call",
    [
        lambda: grid(torch.zeros(2, 2, 8, 8)),
        lambda: grid(torch.zeros(8, 8)),
        lambda: grid(torch.zeros(0, 1, 8, 8)),
        lambda: grid(torch.zeros(2, 1, 8, 8), labels=["a"]),
        lambda: grid(torch.zeros(2, 1, 8, 8), scale=0),
        lambda: pairs(torch.zeros(2, 1, 8, 8), torch.zeros(3, 1, 8, 8)),
    ],
)
def test_bad_pictures_are_a_users_mistake(call):
    with pytest.raises(UserError):
        call()


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "draw",
    [
        lambda: curves({"train": (range(5000), [1 / (i + 1) for i in range(5000)])}, log_y=True),
        lambda: curves({"train": ([0, 1, 2], [NAN, 1.0, INF]), "validation": ([], [])}, log_y=True),
        lambda: curves({"train": ([0], [NAN])}, log_y=True),
        lambda: curves({"a & <b>": ([0, 1], [-1.0, 2.0])}, "t", "x", "y"),
        lambda: curves({}),
        lambda: sorted_counts([[0, 5, 2], [1, 1, 1]]),
        lambda: sorted_counts([[0, 0]]),
    ],
)
@pytest.mark.filterwarnings("error")
def test_every_drawing_is_small_and_whole(draw):
    data = draw()
    assert ElementTree.fromstring(data).tag.endswith("svg")
    assert len(data) < 60_000


def test_thinning_keeps_means_and_leaves_out_what_is_not_finite():
    xs, ys = thin(range(1000), [float(i) for i in range(1000)], points=100)
    assert len(xs) == 100 and xs == ys and sum(ys) / 100 == pytest.approx(499.5)
    assert thin([1, 2, 3], [0.0, NAN, 2.0], positive=True) == ([3.0], [2.0])


def test_the_doors_import_nothing_heavy():
    code = (
        "import sys, caselli.report, caselli.evaluate\n"
        "assert not {'matplotlib', 'torchmetrics', 'scipy', 'yaml'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
