"""A run on streamed shards: every stage, codes by memory mapping, an encoding that was cut short."""

from __future__ import annotations

import io
import tarfile

import pytest
import torch

from caselli.data import CodeShards
from caselli.errors import UserError
from caselli.run import RunFolder, TwoStage, coding, load, train
from tests.pictures import TINY, bars_and_stripes

STREAMED = {"data.stream": True, "data.buffer": 16, "reading.seconds": 0}


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A pattern of three shards, of which the last one is held out."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = sorted(bars_and_stripes(tmp_path / "pictures", 36).rglob("*.png"))
    (tmp_path / "shards").mkdir()
    for shard in range(3):
        with tarfile.open(tmp_path / f"shards/part-{shard}.tar", "w") as archive:
            for number, path in enumerate(files[shard::3]):
                archive.add(path, f"{number:03}.png")
                words = f"a {path.parent.name} bar".encode()
                told = tarfile.TarInfo(f"{number:03}.txt")
                told.size = len(words)
                archive.addfile(told, io.BytesIO(words))
    return tmp_path / "shards" / "part-{0..2}.tar"


def test_a_run_streams_its_pictures(source, tmp_path, monkeypatch):
    run, made = tmp_path / "run", []
    original = coding.encoded_shard
    monkeypatch.setattr(coding, "encoded_shard", lambda *a: made.append(a[2]) or original(*a))
    train(source, run, recipe="tiny", steps=2, changes=TINY | STREAMED, progress=False)
    assert load(run).sample(2).shape[0] == 2 and made == [0, 1]
    codes = CodeShards(run / "codes/train", None)
    assert codes.batch(torch.arange(2)).captions[0].endswith("bar")
    assert len(codes) == 24 and codes.batch(codes.order(4, 0, 0, 1).at(0)).codes.shape[0] == 4

    (run / "codes/train/codes.json").unlink()  # as if killed before the last shard
    (run / "codes/train/00001-codes.npy").unlink()
    train(source, run, recipe="tiny", stage="prior", steps=4, resume=True, progress=False)
    assert made == [0, 1, 1], "whole shards are kept"


def test_auto_counts_all_shards_and_refines_on_a_stream(source, tmp_path, capsys):
    sizes = {name: value for name, value in TINY.items() if not name.startswith("prior.")}
    changes = sizes | STREAMED | {"refinement.drawn": 8, "training.decoder.batch": 4}
    run = train(source, tmp_path / "run", minutes=0.02, changes=changes)
    assert "each of 24 pictures is seen" in "".join(capsys.readouterr())
    config = TwoStage.probe(RunFolder(run)).config
    assert config.data.views == 1, "streamed pictures are encoded once"
    assert (run / "decoder.safetensors").exists() and load(run).sample(2).shape[0] == 2


def test_what_cannot_be_streamed_is_refused_before_training(source, tmp_path):
    for change in ({"data.views": 2}, {"prior.condition_picture": "low_resolution"}):
        with pytest.raises(UserError, match="encoded once, and alone"):
            train(source, tmp_path / "run", recipe="tiny", steps=2, changes=TINY | STREAMED | change)
    assert not (tmp_path / "run").exists()
