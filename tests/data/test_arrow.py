"""Sets that Hugging Face's datasets saved: columns, splits, streams, and what is refused."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from caselli import data
from caselli.data import Batches, PictureStream, Request, open_shards, shard_pictures
from caselli.data.shards import _listed
from caselli.errors import MissingExtra, UserError
from tests.data.making import encoded, noise, write_arrow

FEATURES = {
    "image": {"_type": "Image"},
    "label": {"names": ["dog", "ape", "cat"], "_type": "ClassLabel"},
    "caption": {"dtype": "string", "_type": "Value"},
    "source": {"dtype": "string", "_type": "Value"},
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow", reason="the extra `arrow` is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def row(i, **changes):
    image = {"bytes": encoded(noise(16, 16, 3, i)), "path": f"{i}.png"}
    return {"image": image, "label": i % 3, "caption": f"no {i}", "source": "https://there", **changes}


def saved(folder, *shards):
    return write_arrow(folder, FEATURES, [[row(i) for i in shard] for shard in shards])


def everything(source):
    return data.open(source, split="all", workers=0)


def test_a_set(tmp_path):
    pictures = everything(saved(tmp_path / "set", range(5), range(5, 8)))
    assert pictures.name == "set" and pictures.names[5] == "data-00001-of-00002.arrow/0"
    assert pictures.classes == ("ape", "cat", "dog") and pictures.labels[:4].tolist() == [2, 0, 1, 2]
    assert pictures.captions == tuple(f"no {i}" for i in range(8))
    assert pictures.notes[0] == "left out, other columns: source"
    for i in range(8):
        assert torch.equal(
            pictures.read(torch.tensor([i]))[0].permute(1, 2, 0), torch.from_numpy(noise(16, 16, 3, i))
        )


def test_splits_are_the_parts_of_the_set(tmp_path):
    saved(tmp_path / "train", range(5), range(5, 8))
    saved(tmp_path / "validation", range(8, 11))
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "validation"]}')
    pictures = everything(tmp_path)
    assert pictures.held_out.nonzero().flatten().tolist() == [8, 9, 10]
    assert pictures.names[8] == "validation/data-00000-of-00001.arrow/0"
    assert "the splits part the set: 8 to train on, 3 held out" in pictures.notes
    shards = open_shards(str(tmp_path))
    assert shards.counts == (5, 3, 3) and shards.classes == ("ape", "cat", "dog") and shards.captioned
    held_out = shard_pictures(shards, 2, Request(workers=0))
    assert held_out.captions == ("no 8", "no 9", "no 10") and held_out.classes == shards.classes


def test_a_set_is_streamed(tmp_path):
    shards = open_shards(str(saved(tmp_path / "set", range(5), range(5, 8), range(8, 10))))
    batches = Batches(PictureStream(shards, 16, 3, buffer=4), 2, seed=1)
    several = [batch for _, batch in zip(range(6), batches.stream(), strict=False)]
    for step, batch in enumerate(several):
        assert batch.captions == tuple(f"no {i}" for i in batch.indices.tolist())
        assert torch.equal(next(batches.stream(step)).pictures, batch.pictures)
    assert len(torch.cat([batch.indices for batch in several[:5]]).unique()) == 10


def test_what_is_no_use_is_bad(tmp_path):
    rows = [row(i) for i in range(80)]
    rows[3]["image"] = {"bytes": None, "path": "/etc/passwd"}
    rows[4]["image"], rows[5]["label"] = None, -1
    rows[6]["image"] = {"bytes": b"none", "path": None}
    pictures = everything(write_arrow(tmp_path / "set", FEATURES, [rows]))
    reasons = {bad.name.rpartition("/")[2]: bad.reason for bad in pictures.bad}
    elsewhere = "its bytes are not in the set"
    assert reasons == {"3": elsewhere, "4": elsewhere, "5": "has no label", "6": "not a picture"}
    stream = PictureStream(open_shards(str(tmp_path / "set")), 16, 3)
    captions = stream.batch(torch.arange(8)).captions
    assert stream.skipped == 2 and not {f"no {i}" for i in range(3, 7)} & set(captions)


def test_other_columns(tmp_path):
    several = {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"}
    features = {
        "img": {"_type": "Image"},
        "label": {"dtype": "string", "_type": "Value"},
        "captions": several,
    }
    image = {"bytes": encoded(noise(8, 8, 3)), "path": None}
    rows = [{"img": image, "label": "a", "captions": [f"no {i}", "one"][: i + 1]} for i in range(2)]
    pictures = everything(write_arrow(tmp_path / "set", features, [rows]))
    assert pictures.classes == ("a",) and pictures.all_captions == (("no 0",), ("no 1", "one"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("state.json", "{}", "state.json cannot be read"),
        ("state.json", '{"_data_files": [{"filename": "../b.arrow"}]}', "something beside it was expected"),
        ("state.json", '{"_data_files": [{"filename": "b.arrow"}]}', "b.arrow is missing"),
        ("state.json", '{"_data_files": []}', "holds no rows"),
        ("dataset_info.json", '{"features": {"text": {"_type": "Value"}}}', "one of the type Image"),
        ("dataset_info.json", '{"features": {"other": {"_type": "Image"}}}', "cannot be read"),
        ("data-00000-of-00001.arrow", "ARROW1", "a whole Arrow file was expected"),
        ("dataset_dict.json", '{"splits": [".."]}', "something beside it was expected"),
    ],
)
def test_what_is_refused(tmp_path, name, text, message):
    (saved(tmp_path / "set", range(3)) / name).write_text(text)
    with pytest.raises(UserError, match=message):
        everything(tmp_path / "set")


def test_files_cut_short_or_changed_are_refused_or_read_with_care(tmp_path):
    path = saved(tmp_path / "set", range(3)) / "data-00000-of-00001.arrow"
    whole = path.read_bytes()
    for cut in range(len(whole) - 1, 0, -701):
        path.write_bytes(whole[:cut])
        with pytest.raises(UserError):
            everything(tmp_path / "set")
    for place in range(0, 1800, 37):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            assert len(everything(tmp_path / "set")) <= 3
        except UserError:
            continue


def test_the_extra_is_named(tmp_path, monkeypatch):
    saved(tmp_path / "set", range(3))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"pyarrow.*caselli\[arrow\]"):
        everything(tmp_path / "set")


@pytest.mark.slow
def test_sets_of_the_library_itself(tmp_path):
    datasets = pytest.importorskip("datasets", reason="Hugging Face's datasets is not installed")
    types = {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=FEATURES["label"]["names"]),
        "caption": datasets.Value("string"),
        "source": datasets.Value("string"),
    }
    columns = {name: [row(i)[name] for i in range(8)] for name in FEATURES}
    theirs = datasets.Dataset.from_dict(columns, features=datasets.Features(types))
    theirs.save_to_disk(tmp_path / "theirs", num_shards=2)
    ours = everything(saved(tmp_path / "ours", range(4), range(4, 8)))
    assert everything(tmp_path / "theirs").fingerprint == ours.fingerprint
    known = json.loads((tmp_path / "theirs" / "dataset_info.json").read_text())["features"]
    assert known == FEATURES
    parts = datasets.DatasetDict({"train": theirs.select([6, 2, 4]), "test": theirs.select([1])})
    parts.save_to_disk(tmp_path / "parts")
    assert everything(tmp_path / "parts").captions == ("no 6", "no 2", "no 4", "no 1")
    _listed.cache_clear()
    assert open_shards(str(tmp_path / "parts")).counts == (3, 1)
