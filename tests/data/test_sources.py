"""The laws that every source keeps, over the whole table."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caselli import data
from caselli.data import SOURCES, glyphs
from caselli.errors import UserError
from tests.data.making import encoded, fill, noise, write_arrow, write_idx, write_tar


def a_glyphs(folder):
    return "glyphs"


def a_digits(folder):
    pytest.importorskip("sklearn", reason="the extra `digits` is not installed")
    return "digits"


def a_npz(folder):
    np.savez(folder / "set.npz", x=noise(30 * 8, 8, 3).reshape(30, 8, 8, 3), y=np.arange(30) % 3)
    return folder / "set.npz"


def a_idx(folder):
    write_idx(folder / "train-images-idx3-ubyte.gz", noise(30 * 8, 8, 1).reshape(30, 8, 8))
    write_idx(folder / "train-labels-idx1-ubyte.gz", np.arange(30) % 3)
    return folder


def a_tar(folder):
    members = {f"{i:02}.png": encoded(noise(16, 16, 3, i)) for i in range(30)}
    return write_tar(folder / "set.tar", members | {f"{i:02}.cls": f"{i % 3}".encode() for i in range(30)})


def an_arrow(folder):
    pytest.importorskip("pyarrow", reason="the extra `arrow` is not installed")
    rows = [
        {"image": {"bytes": encoded(noise(16, 16, 3, i)), "path": None}, "label": i % 3} for i in range(30)
    ]
    kinds = {"image": {"_type": "Image"}, "label": {"names": ["0", "1", "2"], "_type": "ClassLabel"}}
    return write_arrow(folder / "set", kinds, [rows])


def a_folder(folder):
    return fill(folder, [f"{i % 3}/{i:02}.png" for i in range(30)])


CASES = {
    "glyphs": a_glyphs,
    "digits": a_digits,
    "npz": a_npz,
    "idx": a_idx,
    "arrow": an_arrow,
    "tar": a_tar,
    "folder": a_folder,
}


def test_the_table_is_covered():
    assert set(CASES) == set(SOURCES)


@pytest.fixture(params=SOURCES)
def source(request, tmp_path, monkeypatch):
    monkeypatch.setattr(glyphs, "TRAIN", 124)
    monkeypatch.setattr(glyphs, "HELD_OUT", 62)
    made = CASES[request.param](tmp_path)
    accepting = [name for name, kind in SOURCES.items() if kind.accepts(str(made))]
    assert accepting[0] == request.param
    return made


def test_what_a_set_says_is_so(source):
    pictures = data.open(source, split="all", workers=0)
    everyone = torch.arange(len(pictures))
    pixels = pictures.read(everyone)
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (len(pictures), pictures.channels, pictures.size, pictures.size)
    assert len(set(pictures.names)) == len(pictures) == len(pictures.digests)
    assert pictures.labels.dtype == torch.int64 and pictures.labels.max() < len(pictures.classes)
    assert pictures.bad == () and pictures.name
    chosen = torch.tensor([3, 0, 3])
    assert torch.equal(pictures.read(chosen), pixels[chosen])
    assert torch.equal(pictures.subset(chosen).read(torch.tensor([1])), pixels[:1])
    batch = pictures.batch(chosen)
    assert torch.equal(data.to_bytes(batch.pictures), pixels[chosen])
    assert torch.equal(batch.labels, pictures.labels[chosen])


def test_size_and_channels_as_asked_for(source):
    for size, channels in ((12, 1), (16, 3)):
        pictures = data.open(source, size=size, channels=channels, workers=0)
        assert (pictures.size, pictures.channels) == (size, channels)
        assert pictures.read(torch.tensor([0])).shape == (1, channels, size, size)


def test_splits_and_fingerprints(source):
    whole, train, held_out = (
        data.open(source, split=split, workers=0) for split in ("all", "train", "held_out")
    )
    assert len(train) + len(held_out) == len(whole) and len(held_out) >= 1
    assert set(train.names) | set(held_out.names) == set(whole.names)
    assert train.fingerprint == whole.split("train").fingerprint
    assert len({whole.fingerprint, train.fingerprint, held_out.fingerprint}) == 3
    assert whole.classes == train.classes == held_out.classes


def test_workers_change_nothing(source):
    one, other = (data.open(source, workers=workers) for workers in (0, 2))
    assert one.fingerprint == other.fingerprint and one.names == other.names


def test_unknown_source(tmp_path):
    with pytest.raises(UserError) as caught:
        data.open("gliphs")
    for kind in SOURCES.values():
        assert kind.expected in str(caught.value)
