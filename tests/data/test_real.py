"""Real sets, where they are present beside the repository."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from caselli import data

SHARED = Path(__file__).parents[3] / "shared" / "data"


def opened(name, **options):
    if not (SHARED / name).is_dir():
        pytest.skip(f"the set {name} is not in {SHARED}")
    return data.open(SHARED / name, split="all", **options)


def test_fashion_mnist():
    pictures = opened("fashion-mnist")
    assert (len(pictures), pictures.size, pictures.channels) == (70_000, 28, 1)
    assert pictures.labels.bincount().tolist() == [7000] * 10
    assert len(pictures.split("held_out")) == 10_000


def test_emoji():
    pictures = opened("emoji64")
    assert (len(pictures), pictures.size, pictures.channels, pictures.bad) == (1439, 64, 3, ())
    assert pictures.captions[0] == "number sign" and pictures.labels is None
    batch = next(data.Batches(pictures.split("train"), 8).stream())
    assert batch.pictures.shape == (8, 3, 64, 64) and batch.pictures.max() == 1


def test_tiles():
    pictures = opened("tiles32", workers=2)
    assert (len(pictures), pictures.size, pictures.channels) == (3214, 32, 3)
    assert len(pictures.classes) == pictures.labels.unique().numel() == 349
    assert pictures.names[0].split("/")[0] == pictures.classes[pictures.labels[0]]
    assert torch.equal(pictures.read(torch.tensor([7])), opened("tiles32", workers=0).read(torch.tensor([7])))
