"""The ending of an output decides its format; another ending is refused before anything is done."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from caselli.cli import main
from caselli.cli.output import free
from caselli.errors import UserError
from caselli.report import grid
from tests.test_codec import make_run

KINDS = {".png": "PNG", ".jpg": "JPEG", ".JPEG": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return str(make_run(tmp_path_factory.mktemp("run")))


@pytest.mark.parametrize("ending", KINDS)
def test_the_ending_decides_the_format(tmp_path, ending):
    from caselli.report import save_picture

    path = tmp_path / f"a{ending}"
    save_picture(grid(torch.zeros(2, 3, 8, 8)), path, {"seed": "7", "caption": "ein Schäfchen"})
    with Image.open(path) as image:
        said = image.text if ending == ".png" else image.getexif()[270]
        assert image.format == KINDS[ending] and "7" in str(said)


@pytest.mark.parametrize(
    "words", [["sample"], ["sample", "--size", "16x8", "-n", "1"], ["sample", "--size", "16x8"]]
)
def test_a_command_writes_what_the_ending_says(run, tmp_path, words):
    out = tmp_path / "x.jpg"
    assert main([words[0], run, "-n", "2", *words[1:], "-o", str(out)]) == 0
    assert Image.open(out).format == "JPEG" and Image.open(out).width >= 16


@pytest.mark.parametrize(
    "words",
    [["sample", "-o", "x.gif"], ["sample", "-o", "x.jgp"], ["reconstruct", "glyphs", "-o", "x.bmp"],
     ["reconstruct", "glyphs", "-o", "x"], ["decode", "codes.safetensors", "-o", "x.jpg"],
     ["segment", "a.png", "-o", "x.png"], ["decompress", "a.csl", "-o", "x.png"],
     ["compress", "a.png", "-o", "x.png"], ["compress", "a.png", "--archive", "-o", "x.zip"],
     ["encode", "glyphs", "-o", "x.npz"], ["score", "glyphs", "-o", "x.html"], ["export", "-o", "x.onnx"]],
)  # fmt: skip
def test_another_ending_is_refused(run, tmp_path, capsys, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    assert main([words[0], run, *words[1:]]) == 2
    said = capsys.readouterr().err
    assert said.startswith("caselli: the output x") and said.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_training_and_comparing_want_folders(tmp_path, capsys):
    for words in (
        ["train", "glyphs"],
        ["slim", "run", "--quantise", "int8"],
        ["compare", "quantizers", "glyphs"],
    ):
        out = tmp_path / "x.jpg"
        assert main([*words, "-o", str(out)]) == 2 and not out.exists()
        assert "x.jpg was given; a folder was expected" in capsys.readouterr().err


def test_names_of_folders(tmp_path):
    from caselli.cli.output import PICTURES

    (tmp_path / "old.png").mkdir()
    assert free(tmp_path / "old.png", False, PICTURES, folder=True).is_dir()
    for name in ("run", "run-0.5", "made.v2/"):
        free(f"{tmp_path}/{name}", False, PICTURES, folder=True)
    free(tmp_path / "made.v2", False, folder=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a folder was expected"):
        free(tmp_path / "file", True, folder=True)


def test_the_part_of_a_folder_that_is_taken_is_said(run, tmp_path, capsys):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(4):
        Image.new("RGB", (8, 8)).save(folder / f"{number}.png")
    words = ["reconstruct", run, str(folder), "-o"]
    assert main([*words, str(tmp_path / "a.png")]) == 0
    said = capsys.readouterr()
    assert "1 of the 4 pictures of pictures are taken, the part held_out; --split all" in said.err
    assert main([*words, str(tmp_path / "b.png"), "--split", "all"]) == 0
    said = capsys.readouterr()
    assert "4 pictures in" in said.out and "--split" not in said.err
    for number in range(3):
        (folder / f"{number}.png").unlink()
    assert main([*words, str(tmp_path / "c.png")]) == 2 and "'all' takes every one" in capsys.readouterr().err
    assert main([*words, str(tmp_path / "c.png"), "--split", "all"]) == 0
