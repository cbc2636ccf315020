"""The embedded set: deterministic, balanced, legible, inside the picture."""

from __future__ import annotations

import pytest
import torch

from caselli import data
from caselli.data import glyphs
from caselli.errors import UserError


@pytest.fixture(scope="module")
def few():
    pictures, labels = glyphs.draw_glyphs(62 * 24, 32, 0, "train")
    return pictures.float() / 255, labels


def test_the_whole_set():
    whole = data.open("glyphs", split="all")
    train, held_out = whole.split("train"), whole.split("held_out")
    assert (whole.size, whole.channels, len(train), len(held_out)) == (32, 1, 20_000, 2_480)
    assert "".join(whole.classes) == "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    assert held_out.labels.bincount().tolist() == [40] * 62
    assert set(train.labels.bincount().tolist()) == {322, 323}
    assert not set(train.digests.tolist()) & set(held_out.digests.tolist())


def test_seed_and_split_decide():
    first = glyphs.draw_glyphs(70, 16, 0, "train")[0]
    assert torch.equal(first, glyphs.draw_glyphs(70, 16, 0, "train")[0])
    assert not torch.equal(first, glyphs.draw_glyphs(70, 16, 1, "train")[0])
    assert not torch.equal(first, glyphs.draw_glyphs(70, 16, 0, "held_out")[0])


@pytest.mark.parametrize("size", [16, 28, 32, 64])
def test_ink_on_white_that_never_touches_the_edge(size):
    pictures = glyphs.draw_glyphs(62 * 8, size, 3, "train")[0][:, 0]
    edge = torch.cat([pictures[:, 0], pictures[:, -1], pictures[:, :, 0], pictures[:, :, -1]], 1)
    assert edge.min() > 200 and (edge == 255).float().mean() > 0.99
    assert (pictures.flatten(1).amin(1) < 90).float().mean() > 0.99
    assert 0.8 < (pictures / 255).mean() < 0.97


def test_every_font_has_every_character():
    masters, boxes = glyphs._masters(64)
    assert masters.shape == (len(glyphs.FONTS), 62, 64, 64)
    ink = masters.flatten(2).float()
    assert (ink.sum(2) > 0).all() and (boxes.abs() <= 1).all()
    for font in ink:  # a font that lacks letters draws one box for all of them
        assert len(font.unique(dim=0)) == 62


def test_case_can_be_told_by_size(few):
    pictures, labels = few
    height = ((pictures[:, 0] < 0.5).any(2).sum(1)).float()
    for lower in "cosvwxz":
        low, high = (height[labels == glyphs.CLASSES.index(c)].mean() for c in (lower, lower.upper()))
        assert high / low > 1.2


def test_classes_are_legible(few):
    """The nearest of 16 other pictures a class has the right label far more often than one in 62."""
    pictures, labels = few
    pictures = pictures.flatten(1)
    known, asked = slice(0, 62 * 16), slice(62 * 16, None)
    nearest = torch.cdist(pictures[asked], pictures[known]).argmin(1)
    assert (labels[known][nearest] == labels[asked]).float().mean() > 0.25


def test_colour_and_a_missing_font(monkeypatch):
    monkeypatch.setattr(glyphs, "TRAIN", 62)
    monkeypatch.setattr(glyphs, "HELD_OUT", 62)
    pictures = data.open("glyphs", channels=3, size=16)
    assert pictures.read(torch.arange(2)).shape == (2, 3, 16, 16)
    monkeypatch.setattr(glyphs, "FONTS", ("NoSuchFont",))
    glyphs._masters.cache_clear()
    with pytest.raises(UserError, match=r"NoSuchFont\.ttf"):
        data.open("glyphs")
    glyphs._masters.cache_clear()
