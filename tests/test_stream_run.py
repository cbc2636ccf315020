"""A run on streamed shards: both stages, codes by memory mapping, an encoding that was cut short."""

from __future__ import annotations

import tarfile

from caselli.data import CodeShards
from caselli.run import coding, load, train
from tests.pictures import TINY, bars_and_stripes


def test_a_run_streams_its_pictures(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = sorted(bars_and_stripes(tmp_path / "pictures", 36).rglob("*.png"))
    (tmp_path / "shards").mkdir()
    for shard in range(3):
        with tarfile.open(tmp_path / f"shards/part-{shard}.tar", "w") as archive:
            for number, path in enumerate(files[shard::3]):
                archive.add(path, f"{number:03}.png")
    run, made = tmp_path / "run", []
    original = coding.encoded_shard
    monkeypatch.setattr(coding, "encoded_shard", lambda *a: made.append(a[2]) or original(*a))
    changes = {**TINY, "data.stream": True, "data.buffer": 16, "data.views": 1, "reading.seconds": 0}
    source = tmp_path / "shards" / "part-{0..2}.tar"
    train(source, run, recipe="tiny", steps=2, changes=changes, progress=False)
    assert load(run).sample(2).shape[0] == 2 and made == [0, 1]
    codes = CodeShards(run / "codes/train", None)
    assert len(codes) == 24 and codes.batch(codes.order(4, 0, 0, 1).at(0)).codes.shape[0] == 4

    (run / "codes/train/codes.json").unlink()  # as if killed before the last shard
    (run / "codes/train/00001-codes.npy").unlink()
    train(source, run, recipe="tiny", stage="prior", steps=4, resume=True, progress=False)
    assert made == [0, 1, 1], "whole shards are kept"
