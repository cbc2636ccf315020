"""Decoding against a pixel-by-pixel definition, for every mode, size and orientation; and broken files."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from caselli import decoding
from caselli.decoding import BadPicture
from tests.data.making import encoded, noise, raw_png, raw_tiff

# where the stored pixel (r, c) of an h × w picture is seen: the EXIF standard's "0th row, 0th column"
SEEN_AT = {
    1: lambda r, c, h, w: (r, c),
    2: lambda r, c, h, w: (r, w - 1 - c),
    3: lambda r, c, h, w: (h - 1 - r, w - 1 - c),
    4: lambda r, c, h, w: (h - 1 - r, c),
    5: lambda r, c, h, w: (c, r),
    6: lambda r, c, h, w: (c, h - 1 - r),
    7: lambda r, c, h, w: (w - 1 - c, h - 1 - r),
    8: lambda r, c, h, w: (w - 1 - c, r),
}


def upright_definition(rgb: np.ndarray, orientation: int) -> np.ndarray:
    h, w = rgb.shape[:2]
    seen = np.zeros((w, h, 3) if orientation >= 5 else (h, w, 3))
    for r in range(h):
        for c in range(w):
            seen[SEEN_AT[orientation](r, c, h, w)] = rgb[r, c]
    return seen


def middle(rgb: np.ndarray) -> np.ndarray:
    side = min(rgb.shape[:2])
    top, left = (rgb.shape[0] - side) // 2, (rgb.shape[1] - side) // 2
    return rgb[top : top + side, left : left + side]


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[:, :, None].astype(float), 3, 2)


def on_white(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[:, :, None] / 255
    return rgb * share + 255 * (1 - share)


def picture_of(mode: str, h: int, w: int, seed: int) -> tuple[Image.Image, str, dict, np.ndarray]:
    """A picture of that mode, the format and options to save it with, and the colours it stands for."""
    rgba, flat = noise(h, w, 4, seed), noise(h, w, 1, seed)
    wide = np.random.default_rng(seed).integers(0, 65536, (h, w)).astype(np.uint16)
    if mode == "1":
        return Image.fromarray(flat > 99), "PNG", {}, grey((flat > 99) * 255)
    if mode == "L":
        return Image.fromarray(flat), "PNG", {}, grey(flat)
    if mode == "L with a transparent level":
        level = int(flat[0, 0])
        seen = np.where(flat == level, 255, flat)
        return Image.fromarray(flat), "PNG", {"transparency": level}, grey(seen)
    if mode == "LA":
        return Image.fromarray(rgba[..., :2]), "PNG", {}, on_white(grey(rgba[..., 0]), rgba[..., 1])
    if mode == "RGB":
        return Image.fromarray(rgba[..., :3]), "PNG", {}, rgba[..., :3].astype(float)
    if mode == "RGB with a transparent colour":
        key = tuple(int(value) for value in rgba[0, 0, :3])
        alpha = np.where((rgba[..., :3] == key).all(-1), 0, 255)
        return Image.fromarray(rgba[..., :3]), "PNG", {"transparency": key}, on_white(rgba[..., :3], alpha)
    if mode == "RGBA":
        return (
            Image.fromarray(rgba),
            "WEBP",
            {"lossless": True, "exact": True},
            on_white(rgba[..., :3], rgba[..., 3]),
        )
    if mode in ("P", "P with a transparent entry"):
        palette = noise(16, 1, 3, seed + 1)[:, 0]
        image = Image.fromarray(flat % 16).convert("P")
        image.putpalette(palette.tobytes())
        options = {} if mode == "P" else {"transparency": 3}
        alpha = np.where((flat % 16 == 3) & (mode != "P"), 0, 255)
        return image, "PNG", options, on_white(palette[flat % 16], alpha)
    if mode == "I;16":
        return Image.fromarray(wide), "PNG", {}, grey(wide * (255 / 65535))
    if mode == "I":
        return Image.fromarray(wide.astype(np.int32)), "TIFF", {}, grey(wide * (255 / 65535))
    if mode == "F":
        return Image.fromarray((wide / 65535).astype(np.float32)), "TIFF", {}, grey(wide * (255 / 65535))
    assert mode == "CMYK"
    ink = rgba.astype(float)
    colours = (255 - ink[..., :3]) * (255 - ink[..., 3:]) / 255
    return Image.frombytes("CMYK", (w, h), rgba.tobytes()), "TIFF", {}, colours


MODES = (
    *("1", "L", "LA", "RGB", "RGB with a transparent colour", "RGBA", "P", "P with a transparent entry"),
    *("L with a transparent level", "I;16", "I", "F", "CMYK"),
)


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    h=st.integers(1, 9),
    w=st.integers(1, 9),
    orientation=st.sampled_from([None, *SEEN_AT]),
    seed=st.integers(0, 99),
)
@example(h=4, w=6, orientation=6, seed=1)
def test_pixels_are_those_of_the_definition(mode, h, w, orientation, seed):
    image, kind, options, colours = picture_of(mode, h, w, seed)
    if orientation is not None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = options | {"exif": exif}
    expected = middle(upright_definition(colours, orientation or 1))
    data = encoded(image, kind, **options)
    found = decoding.decode(data, min(h, w), 3)
    assert found.dtype == np.uint8 and found.shape == (3, min(h, w), min(h, w))
    assert np.abs(found.transpose(1, 2, 0) - expected).max() <= 1.5
    luma = expected @ [0.299, 0.587, 0.114]
    assert np.abs(decoding.decode(data, min(h, w), 1)[0] - luma).max() <= 2


@pytest.mark.parametrize(
    "kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "JPEG2000", "PPM", "TGA"]
)
def test_every_format_opens(kind):
    image = Image.new("RGB", (24, 16), (200, 30, 90))
    found = decoding.decode(encoded(image, kind), 8, 3)
    assert np.abs(found.astype(int) - np.array([200, 30, 90])[:, None, None]).max() < 12


def test_jpeg_in_cmyk():
    image = Image.new("CMYK", (16, 16), (255, 0, 128, 20))
    found = decoding.decode(encoded(image, "JPEG", quality=95), 8, 3)[:, 4, 4].astype(int)
    assert np.abs(found - np.array([0, 235, 117])).max() < 6


@settings(max_examples=40, deadline=None, derandomize=True)
@given(h=st.integers(1, 60), w=st.integers(1, 60), size=st.integers(1, 40), level=st.integers(0, 255))
def test_a_plain_picture_stays_plain_at_any_size(h, w, size, level):
    found = decoding.decode(encoded(np.full((h, w), level, np.uint8)), size, 1)
    assert found.shape == (1, size, size) and (found == level).all()


def test_resizing_is_antialiased():
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    found = decoding.decode(encoded(stripes), 16, 1)
    assert np.abs(found.astype(int) - 127).max() < 30  # nearest pixels would be 0 or 255


def test_large_jpeg_is_read_as_small():
    ramp = np.tile(np.linspace(0, 255, 640).astype(np.uint8), (640, 1))
    found = decoding.decode(encoded(ramp, "JPEG", quality=95), 16, 1)[0]
    assert np.abs(found.mean(0) - ramp.reshape(640, 16, 40).mean((0, 2))).max() < 4


def test_first_frame_of_several():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decoding.decode(data, 8, 3)[:, 0, 0].tolist() == [255, 0, 0]


def test_unreadable_exif_says_nothing():
    data = encoded(noise(4, 4), exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decoding.decode(data, 4, 3).shape == (3, 4, 4)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_picture_that_is_cut_short_is_bad(kind):
    data = encoded(noise(32, 32), kind)
    for length in (0, 1, 10, len(data) // 2, len(data) - 40):
        with pytest.raises(BadPicture):
            decoding.decode(data[:length], 8, 3)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_damage_gives_a_picture_or_a_bad_picture(data):
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "QOI", "PCX"]))
    content = bytearray(encoded(noise(12, 12), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decoding.decode(bytes(content), 8, 3)
    except BadPicture as bad:
        assert str(bad)
    else:
        assert found.shape == (3, 8, 8)


@given(data=st.binary(max_size=64))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_anything_else_is_no_picture(data):
    with pytest.raises(BadPicture):
        decoding.decode(data, 8, 3)


def test_a_bomb_is_not_opened():
    header = b"P6 60000 60000 255\n"
    with pytest.raises(BadPicture, match=r"pixels|bomb"):
        decoding.decode(header + bytes(100), 8, 3)


def test_postscript_is_not_opened():
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "EPS")
    with pytest.raises(BadPicture, match="not a picture"):
        decoding.decode(file.getvalue(), 8, 3)


@pytest.mark.parametrize("value", [-1, 70000])
def test_integers_beyond_16_bits_are_bad(value):
    data = encoded(Image.fromarray(np.full((4, 4), value, np.int32)), "TIFF")
    with pytest.raises(BadPicture, match="beyond"):
        decoding.decode(data, 4, 1)


def test_bytes_with_a_sign_are_bad():
    with pytest.raises(BadPicture, match="with a sign"):
        decoding.decode(raw_tiff(np.full((4, 4), -1, np.int8)), 4, 1)


def test_not_a_number_is_bad():
    data = encoded(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF")
    with pytest.raises(BadPicture, match="beyond"):
        decoding.decode(data, 4, 1)


def test_a_picture_that_finds_no_memory_is_not_taken_for_broken(monkeypatch):
    """It would be left out of the set without a word."""

    def load(*arguments, **named):
        raise MemoryError

    monkeypatch.setattr(Image, "open", load)
    with pytest.raises(MemoryError):
        decoding.decode(encoded(Image.new("RGB", (8, 8)), "PNG"), 8, 3)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("white", [1, 255, 4095, 65535])
def test_white_of_deep_grey_is_seen_in_the_whole_set(tmp_path, dtype, white):
    from caselli import data

    ramp = np.linspace(0, white, 64).astype(dtype).reshape(8, 8)
    dark = (ramp / 300).astype(dtype)
    for i, values in enumerate([dark, dark, ramp]):
        (tmp_path / f"{i}.tiff").write_bytes(encoded(Image.fromarray(values), "TIFF"))
    for options in ({}, {"size": 8, "channels": 1}):
        pictures = data.open(tmp_path, split="all", workers=0, **({"size": 8} | options))
        found = pictures.read(torch.arange(3))[:, 0].numpy().astype(float)
        assert np.abs(found[2] - ramp * (255 / white)).max() <= 0.51
        assert np.abs(found[0] - dark * (255 / white)).max() <= 0.51
        assert any(f"{white} is taken for white" in note for note in pictures.notes)


def test_a_transparent_level_of_16_bits_is_laid_on_white():
    values = np.full((8, 8), 40000, np.uint16)
    values[:4] = 500
    found = decoding.decode(encoded(Image.fromarray(values), transparency=500), 8, 1)[0]
    assert (found[:4] == 255).all() and (found[4:] == round(40000 / 257)).all()


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_level_has_the_depth_of_the_file(depth):
    top = (1 << depth) - 1
    values = np.arange(64).reshape(8, 8) * (top // 63 or 1) % (top + 1)
    grey = np.rint(values * (255 / top))
    for level in {0, 1, top}:
        found = decoding.decode(raw_png(values, depth, 0, (level,)), 8, 1)[0]
        assert np.abs(found - np.where(values == level, 255, grey)).max() <= 0.5, level


@pytest.mark.parametrize("key", [(100, 100, 100), (40000, 500, 3)])
def test_a_transparent_colour_of_16_bits_is_laid_on_white(key):
    values = np.full((8, 8, 3), 30000)
    values[:4], values[4, 4] = key, 25700
    found = decoding.decode(raw_png(values, 16, 2, key), 8, 3)
    assert (found[:, :4] == 255).all()
    assert (found[:, 5] == 30000 >> 8).all() and (found[:, 4, 4] == 100).all()


RAMP = np.linspace(0, 1, 64).reshape(8, 8)
COLOURS = np.stack([RAMP, RAMP.T, RAMP[::-1]], -1)
DEEP = {
    "white is zero": raw_tiff(np.rint(65535 * (1 - RAMP)).astype(np.uint16), T262=0),
    "white is zero, 12 bits": raw_tiff(np.rint(4095 * (1 - RAMP)).astype(np.uint16), T262=0),
    "white is zero, floating-point": raw_tiff((1 - RAMP).astype(np.float32), T262=0),
    "with a sign": raw_tiff(np.rint(32767 * RAMP).astype(np.int16)),
    "with a sign, 12 bits": raw_tiff(np.rint(4095 * RAMP).astype(np.int16)),
    "largest value said": raw_tiff(np.rint(1000 * RAMP).astype(np.uint16), T281=1000),
    "colours": raw_tiff(np.rint(65535 * COLOURS).astype(np.uint16)),
    "colours of 12 bits": raw_tiff(np.rint(4095 * COLOURS).astype(np.uint16)),
    "colours whose largest value is said": raw_tiff(np.rint(1000 * COLOURS).astype(np.uint16), T281=1000),
    "PNG, colours of 10 bits": raw_png(np.rint(1023 * COLOURS), 16, 2),
    "PNG, colours of 16 bits": raw_png(np.rint(65535 * COLOURS), 16, 2),
}


@pytest.mark.parametrize("kind", DEEP)
def test_white_is_what_the_file_says_or_its_values_suggest(kind):
    channels = 3 if "colours" in kind else 1
    found = decoding.decode(DEEP[kind], 8, channels).transpose(1, 2, 0)
    expected = 255 * (COLOURS if channels == 3 else RAMP[..., None])
    assert np.abs(found - expected).max() <= 1


def test_white_of_deep_colours_is_seen_in_the_whole_set(tmp_path):
    from caselli import data

    for i, share in enumerate([0.003, 1]):
        (tmp_path / f"{i}.png").write_bytes(raw_png(np.rint(4095 * share * COLOURS), 16, 2))
    pictures = data.open(tmp_path, split="all", size=8, workers=0)
    found = pictures.read(torch.arange(2)).numpy().transpose(0, 2, 3, 1)
    assert np.abs(found[0] - 255 * 0.003 * COLOURS).max() <= 1 and np.abs(found[1] - 255 * COLOURS).max() <= 1
    assert any("4095 is taken for white" in note for note in pictures.notes)


def grey_profile(gamma: float) -> bytes:
    """A profile of grey with a gamma of its own."""
    point = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    tags = {
        b"wtpt": point,
        b"kTRC": b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(256 * gamma), 0),
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 2) + b"g".ljust(80, b"\0"),
        b"cprt": b"text\0\0\0\0none",
    }
    table, body, begin = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", begin + len(body), len(content))
        body += content.ljust(-(-len(content) // 4) * 4, b"\0")
    head = struct.pack(">I4xI12s", begin + len(body), 0x02100000, b"mntrGRAYXYZ ")
    head = head.ljust(36, b"\0") + b"acsp".ljust(32, b"\0") + point[8:]
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


@pytest.mark.parametrize("deep", [False, True])
def test_grey_comes_to_srgb_at_any_depth(deep):
    values = np.full((8, 8), 128 * 257 if deep else 128, np.uint16 if deep else np.uint8)
    found = decoding.decode(encoded(values, icc_profile=grey_profile(1.0)), 8, 1)
    assert abs(int(found[0, 0, 0]) - 188) <= 2  # linear light of one half


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_transparent_colour_stays_transparent_with_a_profile(mode):
    image = Image.new(mode, (8, 8), (250, 20, 60) if mode == "RGB" else 60)
    image.paste((0, 90, 0) if mode == "RGB" else 200, (0, 4, 8, 8))
    profile = wide_profile() if mode == "RGB" else grey_profile(1.0)
    key = (250, 20, 60) if mode == "RGB" else 60
    found = decoding.decode(encoded(image, transparency=key, icc_profile=profile), 8, 3)
    assert (found[:, :4] == 255).all() and (found[:, 4:] != 255).any()


def wide_profile() -> bytes:
    """sRGB with the columns of red and green mixed: a profile with other primaries."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    places = {
        bytes(data[i : i + 4]): int.from_bytes(data[i + 4 : i + 8], "big")
        for i in range(132, 132 + 12 * 20, 12)
    }
    red, green = places[b"rXYZ"] + 8, places[b"gXYZ"] + 8
    data[red : red + 12], data[green : green + 12] = data[green : green + 12], data[red : red + 12]
    return bytes(data)


@pytest.mark.parametrize(
    "mode, kind", [("RGB", "PNG"), ("RGBA", "PNG"), ("P", "PNG"), ("RGB", "TIFF"), ("RGB", "WEBP")]
)
def test_colours_come_to_srgb(mode, kind):
    image = Image.new("RGB", (8, 8), (250, 20, 60)).convert(mode)
    options = {"lossless": True} if kind == "WEBP" else {}
    expected = ImageCms.profileToProfile(
        image.convert("RGB"), io.BytesIO(wide_profile()), ImageCms.createProfile("sRGB")
    )
    found = decoding.decode(encoded(image, kind, icc_profile=wide_profile(), **options), 8, 3)
    assert np.abs(found.transpose(1, 2, 0).astype(int) - np.asarray(expected)).max() <= 1
    plain = decoding.decode(encoded(image, kind, **options), 8, 3)
    assert np.abs(found.astype(int) - plain).max() > 100
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"no profile"):
        assert np.array_equal(
            decoding.decode(encoded(image, kind, icc_profile=profile, **options), 8, 3), plain
        )


def test_a_grey_picture_with_a_profile_of_colours_is_left_as_it_is():
    data = encoded(noise(8, 8, 1), icc_profile=wide_profile())
    assert np.array_equal(decoding.decode(data, 8, 1)[0], noise(8, 8, 1))


def with_gamma(image, gamma, **options):
    chunks = PngInfo()
    chunks.add(b"gAMA", round(gamma * 100_000).to_bytes(4, "big"))
    return encoded(image, pnginfo=chunks, **options)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "I;16"])
@pytest.mark.parametrize("gamma", [1.0, 0.55556])
def test_a_gamma_without_a_profile_comes_to_srgb(mode, gamma):
    """IEC 61966-2-1: 1.055 x^(1 / 2.4) - 0.055 of light above 0.0031308."""
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(levels.astype(np.uint16) * 257 if mode == "I;16" else levels)
    light = (levels / 255) ** (1 / gamma)
    expected = 255 * np.where(light > 0.0031308, 1.055 * light ** (1 / 2.4) - 0.055, 12.92 * light)
    found = decoding.decode(with_gamma(image if mode == "I;16" else image.convert(mode), gamma), 16, 3)
    assert np.abs(found - expected).max() <= 0.51
    assert {1.0: 188, 0.55556: 146}[gamma] == found[0, 8, 0]


def test_a_gamma_that_is_that_of_srgb_or_beside_better_words_changes_nothing():
    image = Image.fromarray(noise(8, 8, 3))
    for data in (with_gamma(image, 0.45455), with_gamma(image, 0)):
        assert np.array_equal(decoding.decode(data, 8, 3).transpose(1, 2, 0), noise(8, 8, 3))
    profile = {"icc_profile": wide_profile()}
    plain, given = encoded(image, **profile), with_gamma(image, 1, **profile)
    assert np.array_equal(decoding.decode(given, 8, 3), decoding.decode(plain, 8, 3))
    said = with_gamma(image, 1)
    at = said.index(b"gAMA") - 4
    srgb = b"\0\0\0\1sRGB\0" + zlib.crc32(b"sRGB\0").to_bytes(4, "big")
    assert np.array_equal(
        decoding.decode(said[:at] + srgb + said[at:], 8, 3), decoding.decode(encoded(image), 8, 3)
    )


def test_deep_samples_take_little_memory_beside_their_own():
    values = np.full((1 << 11, 1 << 10), 4000, np.uint16)
    image = Image.fromarray(values)
    tracemalloc.start()
    levels = decoding.eight_bits(image, values, 4095)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert levels[0, 0] == 249 and (levels == 249).all() and peak < 3 * levels.nbytes
