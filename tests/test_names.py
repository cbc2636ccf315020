"""Every name that a file system can hold goes in and comes out, and no file is written twice."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from caselli.cli import main
from caselli.errors import UserError

OLD = Path(__file__).parent / "old_runs"
RUN = str(OLD / "two_stage")
NAMES = {
    "newline": [b"a\nb.png", b"c\\nd.png"],
    "backslash": [b"a\\b.png", b"a\\\\b.png", b"\\.png"],
    "not UTF-8": [b"\xff\xfe.png", "é".encode("latin-1") + b".png"],
    "control": [b"a\tb\rc\x1b.png", b" .png", b"-o.png"],
    "dots": [b"a..png", b"x.y.png", b"x.png.png"],
    "long": [b"x" * 251 + b".png", "ü".encode() * 125 + b".png"],
    "folders": [b"c.png/x.png", b"d.csl/y.png"],
    "endings": [b"a.png", b"a.bmp", b"a.PNG", b"b.png"],
}


def folder_of(path, names):
    path.mkdir()
    for number, name in enumerate(names):
        picture = Image.fromarray(np.full((16, 16), 20 * number, np.uint8))
        picture.save(path / "one.png", "BMP" if name.endswith(b".bmp") else "PNG")
        target = os.path.join(os.fsencode(path), name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.rename(path / "one.png", target)
    return path


def files(path):
    return [str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()]


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("archive", [True, False])
def test_names_go_in_and_come_out(tmp_path, kind, archive):
    source, packed, out = folder_of(tmp_path / "in", NAMES[kind]), tmp_path / "packed", tmp_path / "out"
    assert main(["compress", RUN, str(source), "-o", str(packed), *["--archive"] * archive]) == 0
    assert main(["decompress", RUN, str(packed), "-o", str(out)]) == 0
    found = set(map(os.fsencode, files(out)))
    assert len(found) == len(NAMES[kind])
    if kind != "endings":
        assert found == set(NAMES[kind])


@pytest.mark.parametrize("kind", NAMES)
def test_codes_of_many_names(tmp_path, kind, capsys):
    source, codes, out = folder_of(tmp_path / "in", NAMES[kind]), tmp_path / "c.safetensors", tmp_path / "out"
    assert main(["encode", RUN, str(source), "-o", str(codes)]) == 0
    assert main(["decode", RUN, str(codes), "-o", str(out)]) == 0
    assert len(files(out)) == len(NAMES[kind])
    assert ("a.bmp, which shares its name, is written as a.bmp" in capsys.readouterr().err) == (
        kind == "endings"
    )


def test_masks_of_pictures_that_differ_in_their_endings(tmp_path):
    source = folder_of(tmp_path / "in", NAMES["endings"])
    assert main(["segment", str(OLD / "unet"), str(source), "-o", str(tmp_path / "out")]) == 0
    assert sorted(files(tmp_path / "out")) == ["a.PNG.png", "a.bmp.png", "a.png.png", "b.png"]


def test_pictures_of_one_name_from_two_folders(tmp_path):
    one, two = (folder_of(tmp_path / name, [b"a.png", b"b.png"]) for name in ("one", "two"))
    out = tmp_path / "masks"
    assert main(["segment", str(OLD / "unet"), str(one), str(two), "-o", str(out)]) == 0
    assert len(files(out)) == 4
    for source in (one, two):
        words = ["compress", RUN, str(source), "-o", str(tmp_path / f"{source.name}.csl"), "--archive"]
        assert main(words) == 0
    archives = [str(tmp_path / f"{name}.csl") for name in ("one", "two")]
    assert main(["decompress", RUN, *archives, "-o", str(tmp_path / "out")]) == 0
    assert len(files(tmp_path / "out")) == 4


@pytest.mark.parametrize("name", ["", ".", "..", "/a.png", "../a.png", "a/../../b.png", "a\0.png"])
def test_names_outside_the_folder_are_refused(name):
    from caselli.cli.output import told_apart

    with pytest.raises(UserError, match="a name inside a folder was expected"):
        told_apart(["fine.png", name])
