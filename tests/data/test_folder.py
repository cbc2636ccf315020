"""Folders of pictures: order, classes, captions, splits, bad pictures, fingerprints, sets beyond memory."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from caselli import data
from caselli.cli import main
from caselli.data import Batches, listing
from caselli.data.pictures import chosen_by_name
from caselli.errors import UnknownName, UserError
from tests.data.making import decoders_alive, fill, noise
from tests.data.making import encoded as png


def everything(source, **options):
    return data.open(source, split="all", workers=0, **options)


def test_any_nesting_in_order(tmp_path):
    fill(
        tmp_path, ["b/2.png", "a/deep/er/1.PNG", "a/0.jpg.png", ".hidden.png", ".git/x.png", "__MACOSX/y.png"]
    )
    (tmp_path / "notes.txt").write_text("not a picture")
    pictures = everything(tmp_path)
    assert pictures.names == ("a/0.jpg.png", "a/deep/er/1.PNG", "b/2.png")
    assert pictures.classes == ("a", "b") and pictures.labels.tolist() == [0, 0, 1]
    assert pictures.name == tmp_path.name and pictures.captions is None and pictures.bad == ()
    assert (pictures.size, pictures.channels) == (16, 3)
    assert torch.equal(pictures.read(torch.tensor([2]))[0], torch.from_numpy(noise(16, 16)).permute(2, 0, 1))


@pytest.mark.parametrize(
    "names", [["a.png", "b.png"], ["a/1.png", "a/2.png"], ["a/1.png", "b/1.png", "c.png"]]
)
def test_without_two_folders_of_pictures_there_are_no_classes(tmp_path, names):
    pictures = everything(fill(tmp_path, names))
    assert pictures.classes == () and pictures.labels is None


@pytest.mark.parametrize("name", ["captions.csv", "Captions.CSV"])
def test_captions(tmp_path, name):
    fill(tmp_path, ["a.png", "sub/b.png", "c.png"])
    (tmp_path / name).write_text('\ufefffile,caption\na.png,"one, two"\nsub\\b.png,three\n', "utf-8")
    assert everything(tmp_path).captions == ("one, two", "", "three")


@pytest.mark.parametrize(
    "content, words",
    [
        (b"name,text\na.png,x\n", "file,caption"),
        (b"", "file,caption"),
        (b"file,caption,caption\na.png,x,y\n", "file,caption"),
        (b"file,caption\nz.png,x\n", "names a picture"),
        (b"file,caption\na.png,\xff\xfe\n", "UTF-8"),
        (b'file,caption\na.png,"x" y\n', "CSV"),
    ],
)
def test_bad_captions(tmp_path, content, words):
    fill(tmp_path, ["a.png", "b.png"])
    (tmp_path / "captions.csv").write_bytes(content)
    with pytest.raises(UserError, match=words):
        everything(tmp_path)


def test_links_are_followed_once(tmp_path):
    fill(tmp_path / "elsewhere", ["x.png"])
    root = fill(tmp_path / "root", ["a/1.png"])
    (root / "b").symlink_to(tmp_path / "elsewhere")
    (root / "b" / "round").symlink_to(root)
    assert everything(root).names == ("a/1.png", "b/x.png")


def test_size_is_the_commonest_short_side_rounded(tmp_path):
    for i, (height, width) in enumerate([(50, 70), (70, 50), (64, 64), (20, 99)]):
        (tmp_path / f"{i}.png").write_bytes(png(noise(height, width)))
    pictures = everything(tmp_path)
    assert pictures.size == 48 and pictures.read(torch.arange(4)).shape == (4, 3, 48, 48)
    assert everything(tmp_path, size=40).size == 40


def test_grey_where_all_are_grey(tmp_path):
    fill(tmp_path, ["a.png", "b.png"], channels=1)
    grey = np.repeat(noise(16, 16, 1)[..., None], 3, 2)
    (tmp_path / "c.png").write_bytes(png(grey))  # colour by its mode, grey to the eye
    assert everything(tmp_path).channels == 1
    assert everything(tmp_path, channels=3).read(torch.arange(3)).shape[1] == 3
    fill(tmp_path, ["d.png"])
    assert everything(tmp_path).channels == 3
    assert everything(tmp_path, channels=1).channels == 1


@pytest.mark.parametrize("colour", [[1], [129], [64, 65], list(range(1, 130, 2))])
def test_colour_anywhere_is_colour(tmp_path, colour):
    for i in range(130):
        (tmp_path / f"{i:03}.png").write_bytes(png(noise(16, 16, 3 if i in colour else 1, i)))
    pictures = everything(tmp_path)
    assert pictures.channels == 3 and any("some pictures are grey" in note for note in pictures.notes)
    for i in colour:
        (tmp_path / f"{i:03}.png").unlink()
    pictures = everything(tmp_path)
    assert pictures.channels == 1 and pictures.notes[0].startswith("grey: no colour in the")


def test_bad_pictures_are_skipped_and_named(tmp_path):
    fill(tmp_path, [f"{i % 2}/{i:03}.png" for i in range(40)])
    (tmp_path / "0" / "000.png").write_bytes(b"fake")
    cut = tmp_path / "1" / "001.png"
    cut.write_bytes(cut.read_bytes()[:200])
    pictures = everything(tmp_path)
    assert len(pictures) == 38 and len(pictures.labels) == 38 and len(pictures.names) == 38
    assert [bad.name for bad in pictures.bad] == ["0/000.png", "1/001.png"]
    assert pictures.bad[0].reason == "not a picture" and "cannot be decoded" in pictures.bad[1].reason
    i = pictures.names.index("1/039.png")
    assert torch.equal(
        pictures.read(torch.tensor([i]))[0].permute(1, 2, 0), torch.from_numpy(noise(16, 16, 3, 39))
    )
    (tmp_path / "0" / "002.png").write_bytes(b"fake")
    with pytest.raises(UserError, match=r"3 of the 40 pictures .* cannot be used .*at most 5%"):
        everything(tmp_path)


@pytest.mark.parametrize("in_memory", [True, False])
def test_all_bad(tmp_path, monkeypatch, in_memory):
    monkeypatch.setattr(listing, "MEMORY_LIMIT", (1 << 30) * in_memory)
    (tmp_path / "a.png").write_bytes(b"fake")
    with pytest.raises(UserError, match=r"1 of the 1 pictures"):
        everything(tmp_path)


def test_bad_sources(tmp_path):
    with pytest.raises(UserError, match=r"no such file.*\.npz.*\.tar.*a folder of pictures"):
        data.open(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds no pictures .it is empty"):
        data.open(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UserError, match=r"no pictures .it holds 1 × \.txt"):
        data.open(tmp_path)
    with pytest.raises(UserError, match="was given; one of these"):
        data.open(tmp_path / "a.txt")
    fill(tmp_path, ["a.png", "b.png"])
    with pytest.raises(UnknownName, match="split 'test'"):
        data.open(tmp_path, split="test")
    for options in ({"size": 0}, {"size": 99999}, {"channels": 2}, {"workers": -1}):
        with pytest.raises(UserError, match=next(iter(options))):
            data.open(tmp_path, **options)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(tmp_path):
    fill(tmp_path, ["a/x.png", "b/y.png"])
    (tmp_path / "a").chmod(0)
    with pytest.raises(UserError, match="cannot be read"):
        everything(tmp_path)


def test_splits_part_the_set(tmp_path):
    fill(tmp_path, [f"{i}.png" for i in range(60)], side=2)
    whole = everything(tmp_path, size=2)
    parts = [data.open(tmp_path, size=2, split=split, workers=0) for split in ("train", "held_out")]
    assert sorted(parts[0].names + parts[1].names) == sorted(whole.names)
    assert not set(parts[0].names) & set(parts[1].names)
    assert parts[1].fingerprint == whole.split("held_out").fingerprint
    fill(tmp_path, [f"more{i}.png" for i in range(60)], side=2)
    later = data.open(tmp_path, size=2, split="held_out", workers=0)
    assert set(parts[1].names) == {name for name in later.names if not name.startswith("more")}


def test_split_of_few():
    for count in range(2, 30):
        held_out = chosen_by_name([f"{i}.png" for i in range(count)])
        assert 1 <= held_out.sum() < count
    assert not chosen_by_name(["only.png"]).any()
    assert chosen_by_name([str(i) for i in range(60_000)]).sum() == 5000
    assert 1800 < chosen_by_name([str(i) for i in range(20_000)]).sum() < 2200


def test_one_picture_cannot_be_parted(tmp_path):
    fill(tmp_path, ["a.png"])
    assert len(data.open(tmp_path, workers=0)) == 1
    with pytest.raises(UserError, match=r"no picture .* is left for the split 'held_out'"):
        data.open(tmp_path, split="held_out", workers=0)


def test_the_fingerprint_changes_with_anything(tmp_path):
    def fingerprint(**options):
        return everything(tmp_path, **options).fingerprint

    fill(tmp_path, ["a/1.png", "b/2.png", "b/3.png"])
    seen = [fingerprint(), fingerprint(size=8), fingerprint(channels=1)]
    assert fingerprint() == seen[0] and len(seen[0]) == 16 and int(seen[0], 16) >= 0
    seen += [data.open(tmp_path, split=split, workers=0).fingerprint for split in ("train", "held_out")]
    (tmp_path / "captions.csv").write_text("file,caption\na/1.png,x\n")
    seen.append(fingerprint())
    fill(tmp_path, ["b/2.png"], first=9)
    seen.append(fingerprint())
    (tmp_path / "b" / "3.png").rename(tmp_path / "a" / "3.png")
    seen.append(fingerprint())
    assert len(set(seen)) == len(seen)


def test_files_and_memory_are_the_same_set(tmp_path, monkeypatch):
    fill(tmp_path, [f"{i % 3}/{i:02}.png" for i in range(40)], side=8)
    (tmp_path / "0" / "00.png").write_bytes(b"fake")
    memory = everything(tmp_path, size=8)
    monkeypatch.setattr(listing, "MEMORY_LIMIT", 0)
    sets = [data.open(tmp_path, size=8, split="all", workers=workers) for workers in (0, 1, 3)]
    for files in sets:
        assert memory.store.in_memory and not files.store.in_memory
        assert files.fingerprint == memory.fingerprint and files.bad == memory.bad
        indices = torch.tensor([5, 0, 38, 5])
        assert torch.equal(files.read(indices), memory.read(indices))
        assert torch.equal(files.labels, memory.labels) and files.names == memory.names
        part = torch.tensor([3, 1])
        assert torch.equal(files.subset(part).read(torch.tensor([1])), memory.read(part[1:]))
        expected = Batches(memory, 6, seed=1, augment=data.Augment(flip=True, shift=1))
        batches = Batches(files, 6, seed=1, augment=data.Augment(flip=True, shift=1))
        for step, batch in zip(range(2, 12), batches.stream(2), strict=False):
            assert torch.equal(batch.pictures, expected.at(step).pictures)
            assert torch.equal(batch.labels, expected.at(step).labels)
        assert torch.equal(batches.at(7).pictures, expected.at(7).pictures)
    if os.path.isdir("/proc"):
        assert not decoders_alive(os.getpid())


def test_a_picture_that_vanishes_while_it_is_used(tmp_path, monkeypatch):
    fill(tmp_path, ["a.png", "b.png"])
    monkeypatch.setattr(listing, "MEMORY_LIMIT", 0)
    pictures = everything(tmp_path)
    (tmp_path / "a.png").unlink()
    with pytest.raises(UserError, match=r"a\.png: cannot be read"):
        pictures.read(torch.tensor([0]))


def test_progress_shows_the_name(tmp_path, capsys):
    everything(fill(tmp_path, ["a.png", "b.png"]), progress=True)
    assert f"reading {tmp_path.name}" in capsys.readouterr().err


def test_names_that_are_no_utf8(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff\xfe.png"
    try:
        with open(path, "wb") as file:
            file.write(png(noise(16, 16)))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    fill(tmp_path, ["a.png"])
    for workers in (0, 1):
        pictures = data.open(tmp_path, split="all", workers=workers)
        assert pictures.names == ("a.png", "��.png") and len(pictures.fingerprint) == 16


def test_the_short_side_fills_the_square(tmp_path):
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 255
    Image.fromarray(wide).save(tmp_path / "a.png")
    Image.fromarray(wide).save(tmp_path / "b.png")
    assert (everything(tmp_path, size=10).read(torch.arange(2)) == 255).all()


def squares(root, names):
    """Many small pictures: a name with `*n` at its end stands for n of them."""
    for name in names:
        stem, _, count = name.partition("*")
        fill(root, [f"{stem}{i}.png" for i in range(int(count or 1))], side=2)
    return root


@pytest.mark.parametrize(
    "tree, classes, held_out",
    [
        (["train/cat/*4", "train/dog/*4", "test/cat/*2", "test/dog/*2"], ("cat", "dog"), 4),
        (["Training/a/*4", "Training/b/*4", "val2017/a/*2", "test_set/b/*1"], ("a", "b"), 3),
        (["cat/train/*4", "cat/test/*2", "dog/train/*4", "dog/test/*1"], ("cat", "dog"), 3),
        (["images/train/cat/*4", "images/train/dog/*4", "images/val/dog/*3"], ("cat", "dog"), 3),
        (["train/*8", "validation/*2"], (), 2),
        (["training/a/*4", "training/b/*4", "testing/a/*2", "validation/b/*1"], ("a", "b"), 3),
        (
            [
                *(f"seg_train/seg_train/{c}/*4" for c in "ab"),
                "seg_test/seg_test/a/*2",
                "seg_pred/seg_pred/*3",
            ],
            ("a", "b"),
            2,
        ),
        (["a/Signs-Train/*4", "a/Signs-Test/*1", "b/Signs-Train/*4"], ("a", "b"), 1),
        (["train_toys/a/*4", "train_toys/b/*4", "val_toys/a/*2"], ("a", "b"), 2),
        (["train/train/*4", "train/bus/*4", "test/bus/*2"], ("bus", "train"), 2),
        (["toy_train/*4", "toy_bus/*4"], ("toy_bus", "toy_train"), None),
        (["seg_test/*4", "seg_val/*4"], ("seg_test", "seg_val"), None),
        (["train/cat/*4", "train/dog/*4"], ("cat", "dog"), None),
        (["train/cat/*4", "train/dog/*4", "test/*3"], ("cat", "dog"), None),
        (["train/cat/*4", "train/dog/*4", "test/cat/*3", "sample"], ("cat", "dog"), 3),
        (["train/*4", "bus/*4"], ("bus", "train"), None),
        (["valid/*4", "invalid/*4"], ("invalid", "valid"), None),
    ],
)
def test_folders_of_parts_are_parts(tmp_path, tree, classes, held_out):
    pictures = everything(squares(tmp_path, tree), size=2)
    assert pictures.classes == classes
    if held_out is None:
        assert torch.equal(pictures.held_out, chosen_by_name(pictures.names))
        return
    assert int(pictures.held_out.sum()) == held_out
    for name, is_held_out in zip(pictures.names, pictures.held_out.tolist(), strict=True):
        assert is_held_out == ("train" not in name.lower())
    assert any("part the set" in note for note in pictures.notes)


def test_a_few_pictures_beside_class_folders_are_left_out(tmp_path):
    pictures = everything(squares(tmp_path, ["cat/*3", "dog/*3", "cover"]), size=2)
    assert pictures.classes == ("cat", "dog") and len(pictures) == 6
    assert "left out, beside the class folders: cover0.png" in pictures.notes
    pictures = everything(squares(tmp_path, ["more*3"]), size=2)
    assert pictures.classes == () and len(pictures) == 10
    assert any("4 of 10 pictures lie in none of the folders cat, dog" in note for note in pictures.notes)
    pictures = everything(squares(tmp_path / "inner" / "one", ["cat/*3", "dog/*3"]).parent, size=2)
    assert pictures.classes == () and "name that folder as the source" in pictures.notes[0]


def test_names_like_those_of_parts_are_doubted(tmp_path):
    pictures = everything(squares(tmp_path, ["x_train/*3", "x_test/*3", "y/*3"]), size=2)
    assert any("x_test, x_train are taken for classes" in note for note in pictures.notes)


def test_system_folders_are_no_classes(tmp_path):
    system = ["@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", "#recycle", "__MACOSX"]
    system += ["@SynoResource", "DfsrPrivate", "LOST.DIR", "Recycled"]
    plain = everything(squares(tmp_path, ["@/*2", "#/*2", "$/*2"]), size=2)
    pictures = everything(squares(tmp_path, [f"{name}/a.jpg/*2" for name in system]), size=2)
    assert pictures.classes == ("#", "$", "@") and pictures.fingerprint == plain.fingerprint


def test_every_link_to_a_folder_is_followed_but_none_in_circles(tmp_path):
    shared = fill(tmp_path / "elsewhere", ["x.png"])
    root = fill(tmp_path / "root", ["c/1.png"])
    for name in ("a", "b"):
        (root / name).symlink_to(shared)
    (root / "c" / "top").symlink_to(root)
    (root / "c" / "self").symlink_to(root / "c")
    assert everything(root).names == ("a/x.png", "b/x.png", "c/1.png")
    assert list(data.picture_files(root)) == ["a/x.png", "b/x.png", "c/1.png"]  # as compress sees them
    for name in "pqrstu":  # each links to all others: the ways through them have no end
        (root / name).mkdir()
        for other in "pqrstu":
            (root / name / other).symlink_to(root / other)
    assert any("more than 2 links" in note for note in everything(root).notes)


def test_a_link_to_itself_is_left_out(tmp_path):
    fill(tmp_path, ["cat/1.png", "dog/1.png"])
    os.symlink(tmp_path / "loop", tmp_path / "loop")
    assert everything(tmp_path).classes == ("cat", "dog")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_left_out(tmp_path):
    fill(tmp_path, ["a.png", "b.png"])
    os.mkfifo(tmp_path / "c.png")
    (tmp_path / "d.png").symlink_to(tmp_path / "c.png")
    pictures = everything(tmp_path)
    assert pictures.names == ("a.png", "b.png")
    assert "left out, pipes or devices: c.png, d.png" in pictures.notes


def test_runs_inside_the_source_are_left_out(tmp_path):
    fill(tmp_path, ["cat/1.png", "dog/1.png"])
    before = everything(tmp_path)
    for run in ("run", "runs/second"):
        fill(tmp_path, [f"{run}/pictures/samples.png"])
        (tmp_path / run / "run.yaml").write_text("kind: two_stage")
    fill(tmp_path, ["compared/pictures/plot.png"])
    (tmp_path / "compared" / "comparison.json").write_text("{}")
    after = everything(tmp_path)
    assert after.names == before.names and after.fingerprint == before.fingerprint
    assert "left out, runs and comparisons: compared, run, runs/second" in after.notes


def test_kinds_that_are_not_read_are_counted_and_named(tmp_path):
    fill(tmp_path, ["a.jpg", "b.x.jpg", "c.mpo"])
    for name in ("1.svg", "2.SVG", "clip.mp4", "x.cr2", "notes.txt", "LICENSE"):
        (tmp_path / name).write_bytes(b"")
    pictures = everything(tmp_path)
    assert pictures.names == ("a.jpg", "b.x.jpg", "c.mpo")
    assert not any(".x.jpg" in note for note in pictures.notes)
    for words in (
        "2 × .svg (1.svg, ...): draw it",
        "1 × .mp4 (clip.mp4): take frames",
        "1 × .cr2",
        "1 × .txt",
    ):
        assert any(words in note for note in pictures.notes), words
    for path in tmp_path.glob("*.[jm]p*"):
        path.unlink()
    with pytest.raises(UserError, match=r"holds no pictures.*2 × \.svg .*draw it by rsvg-convert"):
        everything(tmp_path)


@pytest.mark.parametrize("ending, package", [(".heic", "pillow-heif"), (".jxl", "pillow-jxl-plugin")])
def test_packages_that_read_more_kinds_are_named(monkeypatch, ending, package):
    from caselli.data.kinds import REMEDIES, left_out

    assert package in REMEDIES[ending] and "caselli[formats]" in REMEDIES[ending]
    monkeypatch.setattr("caselli.data.kinds.EXTENSIONS", {".jpg"})  # the package is not installed
    (said,) = left_out([f"{number}{ending}" for number in range(50)] + ["a.jpg", "b.jpg", "c.jpg"])
    assert said.startswith(f"left out, 50 × {ending} (0{ending}, ...): pip install")


CAPTION_ROWS = {
    "a comma without quotes": ("a.png,one, two\n", {"a.png": ("one, two",)}),
    "quotes after a blank": ('a.png, "one, ""two"""\n', {"a.png": ('one, "two"',)}),
    "several rows": (
        "a.png,one\nb.png,x\na.png,two\na.png,one\n",
        {"a.png": ("one", "two"), "b.png": ("x",)},
    ),
    "a path from here": ("./a.png,one\n", {"a.png": ("one",)}),
    "blanks": (" a.png ,one\n", {"a.png": ("one",)}),
    "case": ("A.PNG,one\n", {"a.png": ("one",)}),
    "another slash": (".\\sub\\c.png,one\n", {"sub/c.png": ("one",)}),
    "composed accents": ("\u00e9.png,one\n", {"e\u0301.png": ("one",)}),
}


@pytest.mark.parametrize("case", CAPTION_ROWS)
def test_rows_fit_pictures_by_the_normal_form_of_their_names(tmp_path, case):
    rows, expected = CAPTION_ROWS[case]
    fill(tmp_path, ["a.png", "b.png", "sub/c.png", "e\u0301.png"], side=2)
    (tmp_path / "captions.csv").write_text(f"File, caption\n{rows}", "utf-8")
    pictures = everything(tmp_path, size=2)
    for name, first, several in zip(
        pictures.names,
        pictures.captions,
        pictures.all_captions or [(c,) for c in pictures.captions],
        strict=True,
    ):
        assert several == expected.get(name, ("",)) and first == several[0]


def test_names_that_differ_in_case_alone_are_told_apart(tmp_path):
    fill(tmp_path, ["a.png", "A.png"], side=2)
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("this file system does not tell case")
    (tmp_path / "captions.csv").write_text("file,caption\nA.png,upper\na.png,lower\n")
    assert everything(tmp_path, size=2).captions == ("upper", "lower")


def test_rows_without_pictures_are_counted(tmp_path):
    fill(tmp_path, [f"{i:02}.png" for i in range(40)], side=2)
    rows = [f"{i:02}.png,no {i}" for i in range(39)] + ["gone.png,x"]
    (tmp_path / "captions.csv").write_text("\n".join(["file,caption", *rows]))
    notes = everything(tmp_path, size=2).notes
    assert "captions: 1 rows fit no picture (gone.png)" in notes
    assert "captions: 1 pictures have none (39.png)" in notes
    (tmp_path / "captions.csv").write_text("\n".join(["file,caption", *rows, "b,y", "c,z"]))
    with pytest.raises(UserError, match=r"3 of the 42 rows .* fit no picture"):
        everything(tmp_path, size=2)


def test_a_comma_without_quotes_before_another_column_is_refused(tmp_path):
    fill(tmp_path, ["a.png", "b.png"], side=2)
    (tmp_path / "captions.csv").write_text("caption,file\none, two,a.png\n")
    with pytest.raises(UserError, match=r"line 2 .* 3 columns.*quotes"):
        everything(tmp_path, size=2)


def test_several_captions_are_drawn_from_in_training(tmp_path):
    fill(tmp_path, ["a.png", "b.png"], side=2)
    (tmp_path / "captions.csv").write_text("file,caption\na.png,one\na.png,two\nb.png,x\n")
    pictures = everything(tmp_path, size=2)
    assert pictures.batch(torch.arange(2)).captions == ("one", "x")
    whole = [Batches(pictures, 2, seed=3).at(step) for step in range(20)]
    drawn = [batch.captions[batch.indices.tolist().index(0)] for batch in whole]
    assert set(drawn) == {"one", "two"}
    halves = [Batches(pictures, 2, seed=3, rank=rank, ranks=2) for rank in range(2)]
    for step, batch in enumerate(whole):
        assert sum((half.at(step).captions for half in halves), ()) == batch.captions
    (tmp_path / "captions.csv").write_text("file,caption\na.png,one\nb.png,x\n")
    assert everything(tmp_path, size=2).fingerprint != pictures.fingerprint


def test_labels_are_matched_by_name(tmp_path):
    pictures = everything(squares(tmp_path, ["b/*2", "d/*1", "x/*1"]), size=2)
    every = torch.arange(4)
    assert pictures.labels_in(("a", "b", "c", "d"), every).tolist() == [1, 1, 3, -1]
    assert torch.equal(pictures.labels_in(pictures.classes, every), pictures.labels)
    assert pictures.labels_in(("p", "q"), every) is None
    assert "labels of 1 of 4 pictures are no classes of the run (x)" in pictures.said_for(("b", "d"))[-1]
    assert pictures.said_for(()) == pictures.notes == pictures.said_for(pictures.classes)


def test_evaluation_matches_labels_by_name_and_says_what_it_lacks(tmp_path, capsys):
    run, none = Path(__file__).parents[1] / "old_runs" / "two_stage", tmp_path / "none"
    few = squares(tmp_path / "few", ["standing/*3", "zebra/*1"])
    none.mkdir()
    for number, path in enumerate(sorted(few.rglob("*.png"))):
        shutil.copy(path, none / f"{number}.png")
    bits, said = {}, {}
    for source in (few, none):
        assert main(["evaluate", str(run), str(source), "--split", "all", "--json"]) == 0
        found = capsys.readouterr()
        bits[source], said[source] = json.loads(found.out)["prior_bits_per_picture"], found.err
    assert bits[few] != bits[none]
    assert "labels of 1 of 4 pictures are no classes of the run (zebra)" in said[few]
    assert "none has no labels: figures are those without one, though the run has 2 classes" in said[none]


def test_texts_beside_pictures_are_captions(tmp_path):
    fill(tmp_path, ["a.png", "sub/b.png", "c.png"], side=2)
    (tmp_path / "a.txt").write_text("\ufeffa cat\n\n a small cat \na cat\n", "utf-8")
    (tmp_path / "sub" / "b.caption").write_text("a dog")
    (tmp_path / "readme.txt").write_text("about these pictures")
    pictures = everything(tmp_path, size=2)
    assert pictures.all_captions == (("a cat", "a small cat"), ("",), ("a dog",))
    assert "captions: 1 pictures have none (c.png)" in pictures.notes
    assert any("1 × .txt (readme.txt)" in note for note in pictures.notes)
    (tmp_path / "captions.csv").write_text("file,caption\nc.png,of the table\n")
    assert everything(tmp_path, size=2).captions == ("", "of the table", "")


@pytest.mark.parametrize("text", ["0 0.5 0.5 0.2 0.1\n", "", "\n"])
def test_texts_without_a_letter_are_no_captions(tmp_path, text):
    fill(tmp_path, ["a.png", "b.png"], side=2)
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(text)
    pictures = everything(tmp_path, size=2)
    assert pictures.captions is None and any("left out, 2 × .txt" in note for note in pictures.notes)


def test_texts_beside_few_pictures_are_no_captions(tmp_path):
    fill(tmp_path, [f"{i}.png" for i in range(5)], side=2)
    for i in range(2):
        (tmp_path / f"{i}.txt").write_text("a cat")
    assert everything(tmp_path, size=2).captions is None
    (tmp_path / "2.txt").write_text("a dog")
    assert everything(tmp_path, size=2).captions == ("a cat", "a cat", "a dog", "", "")


def test_a_text_that_cannot_be_read_is_said(tmp_path):
    fill(tmp_path, ["a.png", "b.png", "c.png"], side=2)
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    for name in ("b.txt", "c.txt"):
        (tmp_path / name).write_text("a cat")
    pictures = everything(tmp_path, size=2)
    assert pictures.captions == ("", "a cat", "a cat")
    assert any("1 texts cannot be read" in note and "a.txt" in note for note in pictures.notes)


METADATA = {
    "metadata.jsonl": (
        '{"file_name": "a.png", "text": "a cat"}\n{"file_name": "b.png", "text": ["x", "y"]}\n',
        '{"file_name": "a.png", "text": "held out"}',
    ),
    "metadata.csv": (
        'file_name,width,caption\na.png,2,"a cat"\nb.png,2,x\n',
        "file_name,caption\na.png,held out\n",
    ),
}


@pytest.mark.parametrize("name", METADATA)
def test_tables_of_other_programs(tmp_path, name):
    """Names are relative to the table's own folder."""
    fill(tmp_path, ["train/a.png", "train/b.png", "test/a.png"], side=2)
    for folder, content in zip(("train", "test"), METADATA[name], strict=True):
        (tmp_path / folder / name).write_text(content)
    pictures = everything(tmp_path, size=2)
    assert dict(zip(pictures.names, pictures.captions, strict=True)) == {
        "test/a.png": "held out",
        "train/a.png": "a cat",
        "train/b.png": "x",
    }


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b'{"file_name": "z.png", "text": "a cat"}', b"[1]", b"no json", b'{"a": 1}', b""]
)
def test_another_programs_table_that_does_not_fit_is_left_out(tmp_path, content):
    fill(tmp_path, ["a.png", "b.png"], side=2)
    (tmp_path / "metadata.jsonl").write_bytes(content)
    pictures = everything(tmp_path, size=2)
    assert pictures.captions is None and any(".jsonl" in note for note in pictures.notes)
