"""The order of samples: a permutation an epoch, any step at once, the same for any number of ranks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caselli.data import Augment, Batches, CodeStore, Pictures, generator, indices_at
from caselli.errors import UserError


def greys(count, side=4):
    pixels = torch.randint(256, (count, 1, side, side), generator=generator("greys"), dtype=torch.uint8)
    labels = torch.arange(count) % 3
    captions = tuple(f"picture {i}" for i in range(count))
    return Pictures.of("greys", pixels, labels=labels, classes=("a", "b", "c"), captions=captions)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(count=st.integers(1, 40), batch=st.integers(1, 50), seed=st.integers(0, 9))
def test_every_epoch_is_a_permutation(count, batch, seed):
    steps = -(-3 * count // batch)
    order = torch.cat([indices_at(count, batch, seed, step) for step in range(steps)])
    for epoch in range(3):
        assert order[epoch * count : (epoch + 1) * count].sort().values.tolist() == list(range(count))


def test_epochs_and_seeds_differ():
    order = torch.cat([indices_at(50, 10, 0, step) for step in range(10)])
    assert not torch.equal(order[:50], order[50:])
    assert not torch.equal(order[:10], indices_at(50, 10, 1, 0))


def test_the_order_does_not_change_between_versions():
    """A run that was begun by an older version must go on in the same order."""
    assert indices_at(10, 5, 0, 0).tolist() == ORDER


ORDER = [3, 0, 7, 4, 6]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(count=st.integers(1, 30), part=st.integers(1, 5), step=st.integers(0, 40), shift=st.integers(0, 3))
def test_ranks_join_to_the_whole(count, part, step, shift):
    pictures, augment, ranks = greys(count), Augment(flip=True, shift=shift), 4
    whole = Batches(pictures, part * ranks, seed=3, augment=augment).at(step)
    parts = [
        Batches(pictures, part * ranks, seed=3, augment=augment, rank=rank, ranks=ranks).at(step)
        for rank in range(ranks)
    ]
    for name in ("pictures", "labels", "indices"):
        assert torch.equal(torch.cat([getattr(one, name) for one in parts]), getattr(whole, name))
    assert sum((one.captions for one in parts), ()) == whole.captions


def test_a_batch_tells_what_is_known():
    pictures = greys(7)
    batch = Batches(pictures, 5).at(2)
    assert batch.pictures.shape == (5, 1, 4, 4) and batch.pictures.dtype == torch.float32
    assert torch.equal(batch.pictures, pictures.read(batch.indices) / 127.5 - 1)
    assert torch.equal(batch.labels, batch.indices % 3)
    assert batch.captions == tuple(f"picture {i}" for i in batch.indices.tolist())


def test_stream_is_at_from_any_step():
    batches = Batches(greys(7), 5, augment=Augment(flip=True, shift=1))
    for step, batch in zip(range(4, 9), batches.stream(4), strict=False):
        assert torch.equal(batch.pictures, batches.at(step).pictures)
        assert torch.equal(batch.indices, batches.at(step).indices)


def augment_definition(picture, flip, down, right):
    """Pixel by pixel: what comes to (r, c), the edge repeated beyond the picture."""
    side = picture.shape[-1]
    if flip:
        picture = picture.flip(-1)
    out = torch.empty_like(picture)
    for r in range(side):
        for c in range(side):
            out[:, r, c] = picture[:, min(max(r - down, 0), side - 1), min(max(c - right, 0), side - 1)]
    return out


def test_augmentation_is_the_definition():
    augment = Augment(flip=True, shift=2)
    moves = augment.draw(64, generator("moves"))
    assert moves[:, 0].unique().tolist() == [0, 1]
    assert moves[:, 1:].unique().tolist() == [-2, -1, 0, 1, 2]
    pictures = torch.randint(256, (64, 3, 5, 5), dtype=torch.uint8)
    expected = torch.stack([augment_definition(p, *m) for p, m in zip(pictures, moves.tolist(), strict=True)])
    assert torch.equal(Augment.apply(pictures, moves), expected)


def test_no_augmentation_changes_nothing():
    pictures = torch.randint(256, (8, 3, 5, 5), dtype=torch.uint8)
    assert torch.equal(Augment.apply(pictures, Augment().draw(8, generator("x"))), pictures)


def test_augmentation_differs_from_step_to_step():
    pictures = Pictures.of("one", torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8))
    batches = Batches(pictures, 8, augment=Augment(flip=True, shift=2))
    assert not torch.equal(batches.at(0).pictures, batches.at(1).pictures)


def test_batches_of_codes():
    store = CodeStore(torch.arange(12).view(6, 2), sizes=(12,), tokenizer="t", data="d")
    whole = Batches(store, 4, seed=1)
    assert torch.equal(whole.at(5).indices, indices_at(6, 4, 1, 5))
    assert torch.equal(whole.at(5).codes, store.codes[whole.at(5).indices])
    parts = [Batches(store, 4, seed=1, rank=rank, ranks=2).at(5).codes for rank in range(2)]
    assert torch.equal(torch.cat(parts), whole.at(5).codes)
    assert torch.equal(next(iter(whole.stream(5))).codes, whole.at(5).codes)


def test_bad_input():
    with pytest.raises(UserError, match="multiple of the 3 processes"):
        Batches(greys(4), 4, ranks=3)
    with pytest.raises(UserError, match="batch of 0"):
        Batches(greys(4), 0)
    with pytest.raises(UserError, match="empty"):
        Batches(greys(4).subset(torch.zeros(0, dtype=torch.int64)), 4)
    with pytest.raises(UserError, match="shift -1"):
        Augment(shift=-1)
    with pytest.raises(UserError, match="at least 1"):
        indices_at(0, 4, 0, 0)
