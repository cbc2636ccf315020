"""Sets that come as arrays: npz, idx, digits; and the conversions of pixels."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caselli import data
from caselli.data import to_bytes, to_float
from caselli.data.pixels import with_channels, with_size
from caselli.errors import UserError
from tests.data.making import noise, write_idx

GREY, COLOUR = noise(10 * 6, 8, 1).reshape(10, 6, 8), noise(10 * 6, 8, 3).reshape(10, 6, 8, 3)


def everything(source, **options):
    return data.open(source, split="all", **options)


def test_every_byte_survives_the_way_to_floats_and_back():
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(to_float(levels)), levels)
    assert to_float(levels).min() == -1 and to_float(levels).max() == 1
    assert to_bytes(torch.tensor([-9.0, 9.0, float("nan"), float("inf")])).tolist() == [0, 255, 128, 255]
    assert to_bytes(torch.tensor([0.25], dtype=torch.bfloat16)).tolist() == [159]


def test_crop_and_channels_of_arrays():
    pixels = torch.from_numpy(COLOUR).permute(0, 3, 1, 2)
    assert torch.equal(with_size(pixels, 6), pixels[:, :, :, 1:7])
    grey = with_channels(pixels, 1)
    luma = (pixels.double() * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
    assert (grey - luma).abs().max() <= 0.51
    assert torch.equal(with_channels(grey, 3)[:, 2:], grey)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(side=st.integers(1, 40), size=st.integers(1, 40), level=st.integers(0, 255))
def test_plain_arrays_stay_plain_at_any_size(side, size, level):
    pixels = torch.full((2, 1, side, side), level, dtype=torch.uint8)
    assert torch.equal(with_size(pixels, size), torch.full((2, 1, size, size), level, dtype=torch.uint8))


@pytest.mark.parametrize(
    "array, expected",
    [
        (GREY, GREY[:, None]),
        (COLOUR, COLOUR.transpose(0, 3, 1, 2)),
        (COLOUR.transpose(0, 3, 1, 2), COLOUR.transpose(0, 3, 1, 2)),
        (GREY[:, None], GREY[:, None]),
        (GREY[..., None], GREY[:, None]),
        (GREY.astype(np.int64), GREY[:, None]),
        ((GREY / 255).astype(np.float32), GREY[:, None]),
        (GREY > 99, (GREY > 99)[:, None] * np.uint8(255)),
    ],
)
def test_npz_layouts_and_types(tmp_path, array, expected):
    np.savez_compressed(tmp_path / "set.npz", array)
    pictures = everything(tmp_path / "set.npz")
    assert torch.equal(pictures.read(torch.arange(10)), torch.from_numpy(expected[..., 1:7].copy()))
    assert pictures.name == "set" and pictures.labels is None


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.uint16, np.float32])
@pytest.mark.parametrize("white", [1, 255, 4095, 65535])
def test_white_of_an_npz_is_what_its_numbers_suggest(tmp_path, dtype, white):
    if white > {np.uint8: 255, np.float32: 255}.get(dtype, 65535):
        return
    array = (np.arange(10 * 36).reshape(10, 6, 6) % 2 * white).astype(dtype)
    np.savez(tmp_path / "set.npz", array)
    found = everything(tmp_path / "set.npz").read(torch.arange(10))[:, 0]
    assert torch.equal(found, torch.from_numpy((array > 0) * np.uint8(255)))


def test_one_picture_in_an_npz(tmp_path):
    np.savez(tmp_path / "set.npz", COLOUR[0])
    pictures = everything(tmp_path / "set.npz")
    assert len(pictures) == 1 and pictures.channels == 3


@pytest.mark.parametrize("name", ["label", "Labels", "Y", "targets", "class"])
def test_names_of_labels(tmp_path, name):
    np.savez(tmp_path / "a.npz", images=GREY, extra=GREY, **{name: np.arange(10).reshape(10, 1) % 2})
    pictures = everything(tmp_path / "a.npz")
    assert pictures.labels.tolist() == [0, 1] * 5 and pictures.notes == ("left out, other arrays: extra",)
    np.savez(tmp_path / "b.npz", GREY, np.arange(10) % 2)
    assert everything(tmp_path / "b.npz").classes == ("0", "1")


def test_npz_labels(tmp_path):
    np.savez(tmp_path / "a.npz", images=GREY, y=np.array([10, 9] * 5))
    pictures = everything(tmp_path / "a.npz", size=12, channels=3)
    assert pictures.classes == ("9", "10") and pictures.labels.tolist() == [1, 0] * 5
    assert pictures.read(torch.arange(3)).shape == (3, 3, 12, 12)
    np.savez(tmp_path / "b.npz", pictures=GREY, labels=np.array(["cat", "ant"] * 5))
    assert everything(tmp_path / "b.npz").classes == ("ant", "cat")


@pytest.mark.parametrize(
    "arrays, words",
    [
        ({"else": GREY}, r"the arrays else; one of pictures, images"),
        ({"x": np.zeros((4, 3, 3, 3), np.uint8)}, "no doubt"),
        ({"x": np.zeros((4, 5, 6, 7), np.uint8)}, "no doubt"),
        ({"x": np.zeros((4, 5), np.uint8)}, "4 × 5"),
        ({"x": np.uint8(3)}, "a single number"),
        ({"x": np.zeros((0, 5, 5), np.uint8)}, "no pictures"),
        ({"x": GREY * 2.0}, r"0 … 1 was expected"),
        ({"x": GREY * np.nan}, r"0 … 1 was expected"),
        ({"x": GREY.astype(int) - 200}, r"0 … 255 was expected"),
        ({"x": np.array([["a"]])}, "numbers were expected"),
        ({"x": np.array([[None]])}, "without pickled objects"),
        ({"x": GREY, "y": np.zeros(9, int)}, "labels"),
        ({"x": GREY, "y": np.zeros(10)}, "labels"),
        ({"x": GREY, "y": np.array([None] * 10)}, "without pickled objects"),
    ],
)
def test_bad_npz(tmp_path, arrays, words):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(UserError, match=words):
        data.open(tmp_path / "set.npz")


@pytest.mark.parametrize("share", [0, 0.3, 0.9, 0.999])
def test_npz_cut_short(tmp_path, share):
    path = tmp_path / "set.npz"
    np.savez_compressed(path, GREY)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UserError, match="cannot be read"):
        data.open(path)


def test_npy_by_another_name(tmp_path):
    with open(tmp_path / "set.npz", "wb") as file:
        np.save(file, GREY)
    with pytest.raises(UserError, match=r"no \.npz file"):
        data.open(tmp_path / "set.npz")


def family(folder, train=8, test=4, suffix=".gz"):
    for split, count in (("train", train), ("t10k", test)):
        write_idx(folder / f"{split}-images-idx3-ubyte{suffix}", GREY[:count])
        write_idx(folder / f"{split}-labels-idx1-ubyte{suffix}", np.arange(count) % 3)
    return folder


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_folder(tmp_path, suffix):
    family(tmp_path, suffix=suffix)
    train, held_out = (data.open(tmp_path, split=split) for split in ("train", "held_out"))
    assert torch.equal(train.read(torch.arange(8))[:, 0], torch.from_numpy(GREY[:8, :, 1:7].copy()))
    assert len(held_out) == 4 and held_out.labels.tolist() == [0, 1, 2, 0]
    assert train.classes == ("0", "1", "2") and held_out.names[1] == "held_out/000001"


def test_idx_single_file(tmp_path):
    family(tmp_path)
    pictures = everything(tmp_path / "train-images-idx3-ubyte.gz", size=8)
    assert len(pictures) == 8 and pictures.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert 1 <= pictures.held_out.sum() < 8 and pictures.name == "train"
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    assert everything(tmp_path / "train-images-idx3-ubyte.gz").labels is None


@pytest.mark.parametrize("length", [0, 1, 12, 60, -4, -30])
def test_idx_cut_short(tmp_path, length):
    path = family(tmp_path) / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError, match=r"cut short|fewer|begins with"):
        data.open(tmp_path)


@pytest.mark.parametrize(
    "content, words",
    [
        (b"\0\0\x08\x01\0\0\0\1x", "begins with 00 00 08 01"),
        (b"\0\0\x0d\x03" + bytes(12), "begins with 00 00 0d 03"),
        (b"\0\0\x08\x03" + b"\0\0\0\1" * 3 + b"xy", "more"),
        (b"\0\0\x08\x03" + b"\0\0\0\2" * 3 + b"xy", "fewer"),
        (b"\0\0\x08\x03" + b"\xff\xff\xff\xff" * 3 + b"xy", "fewer"),
        (b"\0\0\x08\x03\0\0", "fewer"),
        (b"\0\0\x08\x03" + bytes(12), "no pictures"),
    ],
)
def test_bad_idx(tmp_path, content, words):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    for data_ in (content, gzip.compress(content)):
        path.write_bytes(data_)
        with pytest.raises(UserError, match=words):
            data.open(tmp_path)


def test_idx_sets_that_do_not_agree(tmp_path):
    family(tmp_path)
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", np.arange(7))
    with pytest.raises(UserError, match="7 labels"):
        data.open(tmp_path)
    family(tmp_path)
    write_idx(tmp_path / "t10k-images-idx3-ubyte.gz", GREY[:4, :5])
    with pytest.raises(UserError, match="different sizes"):
        data.open(tmp_path)
    write_idx(tmp_path / "letters-train-images-idx3-ubyte.gz", GREY)
    with pytest.raises(UserError, match="several sets"):
        data.open(tmp_path)


def test_digits():
    pytest.importorskip("sklearn", reason="the extra `digits` is not installed")
    pictures = everything("digits")
    assert (len(pictures), pictures.size, pictures.channels) == (1797, 8, 1)
    assert pictures.classes == tuple("0123456789") and 140 < pictures.held_out.sum() < 220
    assert pictures.store.pixels.max() == 255
    assert data.open("digits", size=16, split="held_out").size == 16


def test_digits_without_their_library(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(UserError, match=r"pip install 'caselli\[digits\]'"):
        data.open("digits")


def test_kaggles_copy_of_mnist_has_folders_about_files_of_their_names(tmp_path):
    def fill(root, name):
        for part, count in (("train", 8), ("t10k", 4)):
            for kind, axes in (("images", 3), ("labels", 1)):
                values = np.zeros((count, 4, 4) if axes == 3 else count, np.uint8)
                path = root / name.format(part=part, kind=kind, axes=axes)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_idx(path, values)

    inner = "{part}-{kind}-idx{axes}-ubyte/{part}-{kind}-idx{axes}-ubyte"
    fill(tmp_path / "folders", inner)
    fill(tmp_path / "both", inner)
    fill(tmp_path / "both", "{part}-{kind}.idx{axes}-ubyte")
    for source in ("folders", "both"):
        pictures = everything(tmp_path / source)
        assert len(pictures) == 12 and int(pictures.held_out.sum()) == 4 and pictures.classes == ("0",)
