"""Tar shards: what belongs together, labels, captions, and nothing that could do harm."""

from __future__ import annotations

import io
import json
import pickle
import tarfile

import pytest
import torch

from caselli import data
from caselli.errors import UserError
from tests.data.making import encoded, noise, write_tar


def png(seed=0):
    return encoded(noise(16, 16, 3, seed))


def everything(source, workers=0):
    return data.open(source, split="all", workers=workers)


def test_one_shard(tmp_path):
    members = {}
    for i in range(4):
        members |= {
            f"{i:03}.png": png(i),
            f"{i:03}.cls": str(i % 2).encode(),
            f"{i:03}.txt": f"no {i}\n".encode(),
        }
    pictures = everything(write_tar(tmp_path / "set.tar", members))
    assert pictures.name == "set" and pictures.names[1] == "set.tar/001.png"
    assert pictures.classes == ("0", "1") and pictures.labels.tolist() == [0, 1, 0, 1]
    assert pictures.captions == ("no 0", "no 1", "no 2", "no 3")
    for i in range(4):
        assert torch.equal(
            pictures.read(torch.tensor([i]))[0].permute(1, 2, 0), torch.from_numpy(noise(16, 16, 3, i))
        )


def test_json_beside_the_picture(tmp_path):
    known = [{"label": "cat", "caption": ["a cat", "Tom"], "more": [1]}, {"label": 3}]
    members = {}
    for i, one in enumerate(known):
        members |= {f"a/{i}.json": json.dumps(one).encode(), f"a/{i}.seg.png": b"mask", f"a/{i}.jpg": png(i)}
    pictures = everything(write_tar(tmp_path / "set.tar", members))
    assert pictures.classes == ("3", "cat") and pictures.captions == ("a cat", "")
    assert pictures.all_captions == (("a cat", "Tom"), ("",))
    assert pictures.names == ("set.tar/a/0.jpg", "set.tar/a/1.jpg")


@pytest.mark.parametrize("workers", [0, 2])
def test_folders_and_patterns_of_shards(tmp_path, workers):
    for shard in range(3):
        write_tar(tmp_path / f"part-{shard}.tar", {f"{i}.png": png(10 * shard + i) for i in range(3)})
    folder, pattern = everything(tmp_path, workers), everything(f"{tmp_path}/part-*.tar", workers)
    assert len(folder) == 9 and folder.fingerprint == pattern.fingerprint
    assert folder.names[3] == "part-1.tar/0.png" and folder.name == pattern.name == tmp_path.name
    assert len(everything(f"{tmp_path}/part-[01].tar")) == 6
    assert everything(f"{tmp_path}/part-{{0..2}}.tar").fingerprint == folder.fingerprint
    with pytest.raises(UserError, match=r"part-3\.tar cannot be read"):
        everything(f"{tmp_path}/part-{{0..3}}.tar")


def test_a_tar_among_pictures_is_left_alone(tmp_path):
    write_tar(tmp_path / "backup.tar", {"0.png": png()})
    (tmp_path / "a.png").write_bytes(png(1))
    assert everything(tmp_path).names == ("a.png",)


def test_what_cannot_be_read_is_bad(tmp_path):
    members = {f"{i:03}.png": png(i) for i in range(60)} | {f"{i:03}.cls": b"1" for i in range(60)}
    members |= {"007.png": b"fake", "008.txt": b"\xff\xfe"}
    del members["009.cls"]
    pictures = everything(write_tar(tmp_path / "set.tar", members))
    reasons = {bad.name: bad.reason for bad in pictures.bad}
    assert reasons == {
        "set.tar/007.png": "not a picture",
        "set.tar/008.png": "its .txt cannot be read",
        "set.tar/009.png": "has no label",
    }
    assert len(pictures) == 57


@pytest.mark.parametrize("known", [b"[1]", b"{", b"[" * 100_000, b'{"label": 1' + b" " * (1 << 20) + b"}"])
def test_bad_json(tmp_path, known):
    write_tar(tmp_path / "set.tar", {"0.png": png(), "0.json": known})
    with pytest.raises(UserError, match=r"its \.json"):
        everything(tmp_path / "set.tar")


class Harm:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def test_nothing_is_unpacked_or_unpickled(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    path = inside / "set.tar"
    write_tar(
        path,
        {
            "../../evil.png": png(0),
            "/evil.png": png(1),
            "0.png": png(2),
            "0.pyd": pickle.dumps(Harm()),
            "0.pkl": pickle.dumps(Harm()),
        },
    )
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    pictures = everything(path)
    assert len(pictures) == 3
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["inside", "set.tar"]


@pytest.mark.parametrize("length", [0, 100, 700, 3000])
def test_cut_short(tmp_path, length):
    path = write_tar(tmp_path / "set.tar", {f"{i}.png": png(i) for i in range(4)})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError, match="whole, uncompressed tar"):
        everything(path)


def test_compressed(tmp_path):
    with tarfile.open(tmp_path / "set.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("0.png"), io.BytesIO())
    with pytest.raises(UserError, match="uncompressed"):
        everything(tmp_path / "set.tar.gz")


def test_no_pictures(tmp_path):
    write_tar(tmp_path / "set.tar", {"0.txt": b"x"})
    with pytest.raises(UserError, match="holds no pictures"):
        everything(tmp_path / "set.tar")
    with pytest.raises(UserError, match="no such file"):
        everything(f"{tmp_path}/none-*.tar")


def test_what_webdataset_writes(tmp_path):
    webdataset = pytest.importorskip("webdataset", reason="the extra `tar` is not installed")
    with webdataset.TarWriter(str(tmp_path / "set.tar")) as writer:
        for i in range(3):
            writer.write({"__key__": f"s{i}", "png": png(i), "cls": i, "json": {"caption": f"no {i}"}})
    pictures = everything(tmp_path / "set.tar")
    assert pictures.labels.tolist() == [0, 1, 2] and pictures.captions == ("no 0", "no 1", "no 2")
    theirs = [
        sample["png"] for sample in webdataset.WebDataset(str(tmp_path / "set.tar"), shardshuffle=False)
    ]
    assert theirs == [place.read() for place in _places(tmp_path / "set.tar")]


def _places(path):
    from caselli.data.tar import samples_of

    return [sample["location"] for sample in samples_of(str(path))[0]]


def test_dots_in_names_are_part_of_them(tmp_path):
    names = [f"d/IMG_2020.01.0{i}" for i in range(3)] + ["v1.2"]
    members = {}
    for i, name in enumerate(names):
        members |= {f"{name}.cls": str(i % 2).encode(), f"{name}.png": png(i), f"{name}.txt": b"no %d" % i}
    pictures = everything(write_tar(tmp_path / "set.tar", members))
    assert pictures.names == tuple(f"set.tar/{name}.png" for name in names)
    assert pictures.labels.tolist() == [0, 1, 0, 1] and pictures.captions[2] == "no 2"


def test_what_belongs_to_another_picture_is_left_out_and_said(tmp_path):
    members = {
        "a.png": png(0),
        "a.mask.png": png(1),
        "a.2020.png": png(2),
        "b.png": png(3),
        "b.mask.txt": b"x",
    }
    pictures = everything(write_tar(tmp_path / "set.tar", members))
    assert pictures.names == ("set.tar/a.png", "set.tar/a.2020.png", "set.tar/b.png")
    assert pictures.captions is None and any("1 × .mask.png" in note for note in pictures.notes)
    assert any("b.mask.txt" in note for note in pictures.notes)


def test_parts_of_a_sample_with_names_of_their_own_belong_together(tmp_path):
    """As WebDataset's rule has it: the key ends at the first dot."""
    members = {"1.image.png": png(0), "1.label.cls": b"x", "2.label.cls": b"y", "2.image.png": png(1)}
    members |= {"3.left.png": png(2), "3.right.png": png(3), "3.cls": b"z"}
    with pytest.raises(UserError, match="2 of the 4 pictures"):
        everything(write_tar(tmp_path / "set.tar", members))
    del members["3.left.png"]
    pictures = everything(write_tar(tmp_path / "set.tar", members))
    assert pictures.classes == ("x", "y", "z") and pictures.labels.tolist() == [0, 1, 2]


def test_equal_keys_are_samples_of_their_own(tmp_path):
    path = tmp_path / "set.tar"
    with tarfile.open(path, "w") as archive:
        members = [("0.png", png(0)), ("0.cls", b"x"), ("0.png", png(1)), ("0.cls", b"y"), ("0.jpg", png(2))]
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    pictures = everything(path)
    assert pictures.names == ("set.tar/0.png", "set.tar/0.png (2)", "set.tar/0.jpg")
    assert pictures.labels.tolist() == [0, 1, 1]


def test_a_run_or_a_system_folder_beside_shards_is_left_alone(tmp_path):
    write_tar(tmp_path / "a.tar", {f"{i}.png": png(i) for i in range(3)})
    (tmp_path / "run" / "pictures").mkdir(parents=True)
    (tmp_path / "run" / "run.yaml").write_text("kind: two_stage")
    (tmp_path / "@eaDir").mkdir()
    assert len(everything(tmp_path)) == 3


def test_links_in_a_shard_are_followed_or_said(tmp_path):
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        plain = tarfile.TarInfo("a.png")
        plain.size = len(png())
        archive.addfile(plain, io.BytesIO(png()))
        for name, kind in (("b.png", tarfile.LNKTYPE), ("c.png", tarfile.SYMTYPE)):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "a.png"
            archive.addfile(link)
    found = everything(tmp_path / "set.tar")
    assert found.names == ("set.tar/a.png", "set.tar/b.png")
    assert "1 × .png (no plain member)" in found.notes[0]
    assert torch.equal(*found.read(torch.arange(2)))
