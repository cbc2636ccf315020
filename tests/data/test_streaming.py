"""Streams of tar shards: their order, resuming, bad pictures, codes in shards; no list of all pictures."""

from __future__ import annotations

import dataclasses
import io
import tarfile
import tempfile

import pytest
import torch
from PIL import Image

from caselli import data
from caselli.data import Augment, Batches, CodeShards, CodeStore, PictureStream, Request, StreamOrder
from caselli.data import shards as listing
from caselli.data.code_shards import finish_shards, has_shard, write_shard
from caselli.data.shards import open_shards, shard_pictures
from caselli.errors import UserError

COUNTS = (5, 3, 6, 4)


def add(archive, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def shards_of(folder, bad=()):
    """Shards of one-coloured pictures, whose grey level is 10 × their number."""
    folder.mkdir()
    number = 0
    for shard, count in enumerate(COUNTS):
        with tarfile.open(folder / f"part-{shard:02}.tar", "w") as archive:
            for i in range(count):
                file = io.BytesIO()
                Image.new("L", (8, 8), 10 * number).save(file, "PNG")
                add(archive, f"{i:03}.png", b"none" if number in bad else file.getvalue())
                add(archive, f"{i:03}.cls", str(number % 3).encode())
                add(archive, f"{i:03}.txt", f"level {number}".encode())
                number += 1
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def stream(tmp_path):
    return PictureStream(open_shards(str(shards_of(tmp_path / "set"))), 8, 1, buffer=6)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_an_epoch_has_each_picture_once(ranks):
    for epoch in range(2):
        orders = [StreamOrder(COUNTS, 2 * ranks, 7, rank, ranks, buffer=4) for rank in range(ranks)]
        steps = range(epoch * orders[0].steps, (epoch + 1) * orders[0].steps)
        seen = torch.cat([order.at(step) for order in orders for step in steps])
        assert len(seen.unique()) == len(seen) == 18 // (2 * ranks) * 2 * ranks


def test_a_rank_reads_its_shards_one_after_the_other():
    order = StreamOrder((1000,) * 8, 20, rank=1, ranks=2, buffer=100)
    shards = [torch.unique_consecutive(order.at(step).sort().values // 1000) for step in range(order.steps)]
    turns = torch.unique_consecutive(torch.cat(shards))
    assert len(turns) <= 5, "each shard is entered once, but for the ends of a buffer"
    assert not torch.equal(order.at(0), order.at(0).sort().values)
    assert not torch.equal(order.at(0), order.at(order.steps))


def test_a_shard_is_listed_once_while_a_buffer_needs_it(tmp_path, monkeypatch):
    listed, original = [], listing.samples_of
    monkeypatch.setattr(listing, "samples_of", lambda path: listed.append(path) or original(path))
    whole = open_shards(str(shards_of(tmp_path / "set")))
    listed.clear()
    stream = PictureStream(whole, 8, 1, buffer=18)
    for _ in zip(range(4), Batches(stream, 4).stream(), strict=False):
        pass
    assert len(listed) == len(COUNTS) and len(stream.lists) == len(COUNTS)
    many = PictureStream(dataclasses.replace(whole, paths=whole.paths * 9, counts=COUNTS * 9), 8, 1, buffer=4)
    for _ in zip(range(40), Batches(many, 4).stream(), strict=False):
        pass
    assert len(many.lists) < 12, "lists that no buffer needs are given up"


def test_batches_resume_at_any_step(stream):
    batches = Batches(stream, 4, seed=3, augment=Augment(flip=True))
    several = [batch for _, batch in zip(range(7), batches.stream(), strict=False)]
    for step in (0, 3, 6):
        again = next(batches.stream(step))
        for one in (again, batches.at(step)):
            assert torch.equal(one.pictures, several[step].pictures)
            assert torch.equal(one.indices, several[step].indices) and one.captions == several[step].captions
    for batch in several:
        levels = ((batch.pictures[:, 0, 0, 0] + 1) * 127.5).round().long()
        assert torch.equal(levels, 10 * batch.indices)
        assert torch.equal(batch.labels, batch.indices % 3)
        assert batch.captions == tuple(f"level {i}" for i in batch.indices.tolist())


def test_bad_pictures_are_skipped_and_counted(tmp_path):
    shards = open_shards(str(shards_of(tmp_path / "set", bad=(2, 9))))
    stream = PictureStream(shards, 8, 1)
    batch = stream.batch(torch.arange(12))
    assert stream.skipped == 2 and len(stream.bad) == 2 and "002.png" in stream.bad[0].name
    assert not {2, 9} & set(batch.indices.tolist()) and len(batch.indices) == 12
    levels = ((batch.pictures[:, 0, 0, 0] + 1) * 127.5).round().long()
    assert torch.equal(levels, 10 * batch.indices)


def test_shards_at_urls_are_copied_while_they_are_read(tmp_path, stream, monkeypatch):
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    elsewhere = fsspec.filesystem("memory")
    for path in sorted((tmp_path / "set").glob("*.tar")):
        elsewhere.pipe(f"/set/{path.name}", path.read_bytes())
    whole = open_shards("memory://set/part-{00..03}.tar")
    assert whole.counts == open_shards("memory://set/").counts == COUNTS and whole.name == "set"
    far = PictureStream(whole, 8, 1, buffer=6)
    for ours, theirs, _ in zip(Batches(far, 4).stream(), Batches(stream, 4).stream(), range(6), strict=False):
        assert torch.equal(ours.pictures, theirs.pictures) and ours.captions == theirs.captions
    held_out = shard_pictures(whole, 3, Request(None, None, 0))
    del far, ours
    listing._listed.cache_clear()
    assert len(list(tmp_path.glob(".caselli-*"))) == 1, "the copy of the shard that is held out"
    assert len(held_out.read(torch.arange(4))) == 4 and held_out.names[0] == "part-03.tar/000.png"
    with pytest.raises(UserError, match="part-04"):
        open_shards("memory://set/part-{00..04}.tar")
    with pytest.raises(UserError, match="streamed"):
        data.open("memory://set/part-{00..03}.tar")
    elsewhere.rm("/set", recursive=True)


def mixed(folder, pictures):
    """A shard of each picture, twice, and a file of another kind."""
    folder.mkdir()
    for number, image in enumerate(pictures):
        with tarfile.open(folder / f"part-{number:02}.tar", "w") as archive:
            file = io.BytesIO()
            image.save(file, "PNG")
            add(archive, "0.png", file.getvalue())
            add(archive, "1.png", file.getvalue())
            add(archive, "0.heic", b"")
    return open_shards(str(folder))


def test_colour_in_any_shard_is_colour(tmp_path):
    grey, red = Image.new("L", (8, 8), 9), Image.new("RGB", (8, 8), "red")
    first = shard_pictures(mixed(tmp_path / "red", [grey] * 3 + [red]), 0, Request(workers=0))
    assert first.channels == 3 and "4 × .heic" in first.notes[0]
    first = shard_pictures(mixed(tmp_path / "grey", [grey] * 3), 0, Request(workers=0))
    assert first.channels == 1 and "no colour" in first.notes[-1]


def test_white_of_deep_pictures_is_that_of_all_shards(tmp_path):
    deep = [Image.new("I;16", (8, 8), level) for level in (900, 4000)]
    stream = PictureStream(mixed(tmp_path / "deep", deep), 8, 1)
    levels = stream.read(torch.tensor([0, 2])).pixels[:, 0, 0, 0].tolist()
    assert levels == [round(900 / 4095 * 255), round(4000 / 4095 * 255)]


def test_a_missing_shard_is_named(tmp_path, stream):
    with pytest.raises(UserError, match=r"part-04.tar is missing"):
        open_shards(str(tmp_path / "set" / "part-{00..04}.tar"))
    (tmp_path / "set" / "part-01.tar").unlink()
    data.shards._listed.cache_clear()
    with pytest.raises(UserError, match=r"part-01.tar is missing"):
        stream.batch(torch.tensor([6]))


def test_shards_are_counted_once(tmp_path, stream, monkeypatch):
    monkeypatch.setattr(data.shards, "_counted", None)
    again = open_shards(str(tmp_path / "set"))
    assert again.counts == COUNTS and again.classes == ("0", "1", "2") and again.captioned
    first = shard_pictures(again, 1, Request(workers=0))
    assert first.classes == again.classes and first.labels.tolist() == [2, 0, 1]


def test_codes_lie_in_shards(tmp_path):
    codes = torch.randint(300, (10, 2, 2))
    known = {"sizes": (300,), "tokenizer": "t", "data": "d", "classes": ("a", "b")}
    captions = [f"é{i}" * i for i in range(10)]
    parts = [range(0, 4), range(4, 10)]
    for number, part in enumerate(parts):
        own = {"labels": torch.tensor(part) % 2, "captions": [captions[i] for i in part]}
        write_shard(tmp_path, number, CodeStore(codes[list(part)], **known, **own))
    assert has_shard(tmp_path, 1) and not has_shard(tmp_path, 2)
    with pytest.raises(UserError, match="no finished codes"):
        CodeShards(tmp_path, "t")
    finish_shards(tmp_path, 2, **known)
    shards = CodeShards(tmp_path, "t")
    indices = torch.tensor([9, 3, 4, 0])
    batch = shards.batch(indices)
    assert torch.equal(batch.codes, codes[indices]) and torch.equal(batch.labels, indices % 2)
    assert batch.captions == tuple(captions[i] for i in indices.tolist())
    assert isinstance(shards.shard(0)["codes"].base, object) and len(shards) == 10
    with pytest.raises(UserError, match="another tokenizer"):
        CodeShards(tmp_path, "u")
