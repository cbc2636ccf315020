"""HEIC and JPEG XL, where the extra `formats` is installed."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from PIL import Image

from caselli import data
from caselli.codec import every_pixel
from caselli.errors import UserError

KINDS = {"heic": ("pillow_heif", "HEIF"), "jxl": ("pillow_jxl", "JXL")}


@pytest.mark.parametrize("ending", KINDS)
def test_pictures_of_optional_formats(ending, tmp_path):
    plugin = pytest.importorskip(KINDS[ending][0])
    getattr(plugin, "register_heif_opener", bool)()
    shades = np.linspace(0, 255, 3 * 32 * 32, dtype=np.uint8).reshape(32, 32, 3)
    for number in range(4):
        Image.fromarray(shades).rotate(90 * number).save(tmp_path / f"{number}.{ending}", quality=95)
    for workers in (0, 1):
        found = data.open(tmp_path, size=32, split="all", workers=workers)
        assert len(found) == 4 and not found.bad
        original = torch.from_numpy(shades).permute(2, 0, 1).float()
        assert (found.read(torch.tensor([0]))[0].float() - original).abs().mean() < 6


def test_the_depth_of_a_heic(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    importlib.import_module("caselli.decoding").formats()
    for bits, mode in ((8, "RGB"), (10, "RGB;16")):
        numbers = np.zeros((32, 32, 3), np.uint8 if bits == 8 else np.uint16)
        heif.options.SAVE_HDR_TO_12_BIT = False
        file = heif.from_bytes(mode=mode, size=(32, 32), data=numbers.tobytes())
        file.save(tmp_path / f"{bits}.heic", quality=90)
    assert every_pixel(tmp_path / "8.heic").pixels.shape == (3, 32, 32)
    with pytest.raises(UserError, match="10 bits a sample"):
        every_pixel(tmp_path / "10.heic")


def test_a_jpeg_xl_says_nothing_of_its_depth(tmp_path):
    pytest.importorskip("pillow_jxl")
    importlib.import_module("caselli.decoding").formats()
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jxl", lossless=True)
    with pytest.raises(UserError, match="unknown depth"):
        every_pixel(tmp_path / "a.jxl")
