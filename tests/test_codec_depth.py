"""Exact means every sample and the colour profile, or a refusal before anything is written."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from caselli.cli import main
from caselli.codec import every_pixel, image_of, optimised_png, parse, serialise_one
from caselli.errors import UserError
from tests.data.making import raw_png, raw_tiff
from tests.test_codec import codec, make_run, run_folder, smooth  # noqa: F401

SAMPLES = np.random.default_rng(0).integers(0, 1 << 16, (5, 7, 4), dtype=np.uint16)


def written(format, **options):
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, format, **options)
    return bytearray(file.getvalue())


def deep_jpeg2000():
    data = written("JPEG2000")
    data[data.index(b"\xff\x4f\xff\x51") + 4 + 38] = 11
    return data


DEEP = {
    "colour.png": lambda: raw_png(SAMPLES[..., :3], 16, 2),
    "alpha.png": lambda: raw_png(SAMPLES, 16, 6),
    "grey_alpha.png": lambda: raw_png(SAMPLES[..., :2], 16, 4),
    "grey.png": lambda: raw_png(SAMPLES[..., 0], 16, 0),
    "colour.tif": lambda: raw_tiff(SAMPLES[..., :3]),
    "alpha.tif": lambda: raw_tiff(SAMPLES, T338=2),
    "colour.ppm": lambda: b"P6 2 2 4095\n" + bytes(24),
    "plain.ppm": lambda: b"P3 1 1 1000\n1 2 3\n",
    "colour.sgi": lambda: written("SGI", bpc=2),
    "colour.jp2": deep_jpeg2000,
}


@pytest.mark.parametrize("name", DEEP)
def test_more_than_eight_bits_are_refused(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(DEEP[name]())
    with pytest.raises(UserError, match=r"1[26] bits a sample; 8 bits were expected"):
        every_pixel(path)


@pytest.mark.parametrize(
    ("channels", "extra", "words"),
    [(4, 0, "4 channels"), (4, 1, "multiplied by alpha")],
)
def test_channels_that_pillow_drops_are_refused(channels, extra, words, tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(raw_tiff(np.full((5, 7, channels), 9, np.uint8), T338=extra))
    with pytest.raises(UserError, match=words):
        every_pixel(path)


def test_bytes_with_a_sign_are_refused(tmp_path):
    (tmp_path / "a.tif").write_bytes(raw_tiff(np.full((5, 7), -9, np.int8)))
    with pytest.raises(UserError, match="unknown depth"):
        every_pixel(tmp_path / "a.tif")


def test_a_transparent_level_is_kept_at_any_depth(tmp_path):
    values = np.arange(64).reshape(8, 8) % 16
    (tmp_path / "a.png").write_bytes(raw_png(values, 4, 0, (7,)))
    grey, alpha = every_pixel(tmp_path / "a.png").pixels.numpy()
    assert (grey == 17 * values).all() and ((alpha == 0) == (values == 7)).all()


@pytest.mark.parametrize(
    ("name", "format"),
    [("a.png", "PNG"), ("a.tif", "TIFF"), ("a.ppm", "PPM"), ("a.sgi", "SGI"), ("a.jp2", "JPEG2000"),
     ("a.avif", "AVIF"), ("a.bmp", "BMP"), ("a.webp", "WEBP"), ("a.ico", "ICO")],
)  # fmt: skip
def test_eight_bits_are_kept(name, format, tmp_path):
    path = tmp_path / name
    path.write_bytes(written(format, **({"sizes": [(8, 8)]} if format == "ICO" else {})))
    assert every_pixel(path).pixels.shape[1:] == (8, 8)


def test_nothing_is_written_beside_a_deep_picture(run_folder, tmp_path, capsys):  # noqa: F811
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(raw_png(SAMPLES[..., :3], 16, 2))
    out = tmp_path / "out"
    assert main(["compress", str(run_folder), str(tmp_path), "--kind", "exact", "-o", str(out)]) == 2
    assert "16 bits a sample" in capsys.readouterr().err and not out.exists()


def profile(name="sRGB"):
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()


@pytest.mark.parametrize("archive", [[], ["--archive"]])
def test_exact_keeps_colour_profiles(run_folder, tmp_path, archive):  # noqa: F811
    source, packed, out = tmp_path / "in", tmp_path / "packed", tmp_path / "out"
    source.mkdir()
    own = {"plain": None, "first": profile(), "second": profile(), "other": profile() + b"\0" * 4}
    chunks = {"linear": PngInfo()}
    chunks["linear"].add(b"gAMA", (100_000).to_bytes(4, "big"))
    own["linear"] = None
    for (name, icc), pixels in zip(own.items(), smooth(5, height=24, width=31), strict=True):
        image = image_of(pixels.permute(1, 2, 0).numpy())
        image.save(source / f"{name}.png", icc_profile=icc, pnginfo=chunks.get(name))
    words = [str(run_folder), str(source), "--kind", "exact", *archive, "-o", str(packed)]
    assert main(["compress", *words]) == 0
    assert main(["decompress", str(run_folder), str(packed), "-o", str(out)]) == 0
    for name, icc in own.items():
        before, after = Image.open(source / f"{name}.png"), Image.open(out / f"{name}.png")
        assert after.info.get("icc_profile") == icc and after.info.get("gamma") == before.info.get("gamma")
        assert np.array_equal(np.asarray(before), np.asarray(after))


def test_a_profile_in_a_file_of_its_own(codec):  # noqa: F811
    from caselli.codec import with_profile

    (one,) = codec.compress(smooth(1), "exact", shared=False)
    data = serialise_one(codec.fingerprint("exact"), one.group, b"wide")
    assert parse(data).profiles == (b"wide",) and data[4] == 2
    assert serialise_one(codec.fingerprint("exact"), one.group)[4] == 1  # which earlier releases read
    png = optimised_png(np.zeros((4, 4, 3), dtype=np.uint8))
    assert parse(with_profile(png, b"wide")).profiles == (b"wide",) and with_profile(png, b"") == png


@pytest.mark.parametrize(("bits", "depth"), [(0, 8), (0x40, 10), (0x60, 12)])
def test_the_depth_of_avif_stands_in_its_boxes(bits, depth):
    from caselli.codec.depth import bits_per_sample

    data = written("AVIF")
    image = Image.open(io.BytesIO(bytes(data)))
    data[data.index(b"av1C") + 4 + 2] |= bits
    assert bits_per_sample(image, bytes(data)) == depth


@pytest.mark.parametrize("at", range(0, 24, 3))
def test_made_up_profiles_are_one_line(at):
    from caselli.codec.profiles import pack_profiles, unpack_profiles

    packed = bytearray(pack_profiles((b"", b"wide")))
    packed[at] ^= 0x55
    with pytest.raises(UserError, match="colour profiles are wrong"):
        unpack_profiles(bytes(packed))
    with pytest.raises(UserError, match="colour profiles are wrong"):
        unpack_profiles(pack_profiles((b"wide",))[:at])


def test_of_a_cameras_several_pictures_the_first_is_kept(run_folder, tmp_path, capsys):  # noqa: F811
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    first.save(tmp_path / "a.mpo", save_all=True, append_images=[second])
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png")
    for kind in ("exact", "codes"):
        words = ["compress", str(run_folder), str(tmp_path), "--kind", kind, "-o", str(tmp_path / "x" / kind)]
        assert main(words) == 0
    assert "a.mpo: the first of its 2 pictures is kept" in capsys.readouterr().err
    assert every_pixel(tmp_path / "a.mpo").pixels[0].min() > 200


@pytest.mark.parametrize("name", ["a.png", "a.npz", "a.tar", "a.csl", "a.safetensors"])
def test_a_pipe_is_refused(run_folder, tmp_path, capsys, name):  # noqa: F811
    pipe, out = str(tmp_path / name), str(tmp_path / "out")
    os.mkfifo(pipe)
    commands = {
        "a.csl": [["decompress", str(run_folder), pipe, "-o", out]],
        "a.safetensors": [
            ["decode", str(run_folder), pipe, "-o", out],
            ["import", pipe, "--from", "taming", "-o", out],
        ],
        "a.png": [
            ["compress", str(run_folder), pipe, "-o", out],
            ["compress", str(run_folder), pipe, "--kind", "exact", "-o", out],
            ["reconstruct", str(run_folder), pipe, "-o", f"{out}.png"],
        ],
    }
    train = [["train", pipe, "-o", out], ["train", "glyphs", "--config", pipe, "-o", out]]
    for words in commands.get(name, train):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert "pipe" in said and said.count("\n") == 1
    assert not os.path.exists(out)
