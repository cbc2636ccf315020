"""Stores of codes: what is saved is read, and codes of another tokenizer or a damaged file are refused."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from caselli.data import CodeStore
from caselli.data.codes import smallest_type
from caselli.errors import UserError


def a_store(count=6, **changes):
    codes = torch.arange(count * 4).view(count, 2, 2)
    known = {
        "sizes": (512,),
        "tokenizer": "t1",
        "data": "d1",
        "labels": torch.arange(count) % 2,
        "classes": ("ä", "b"),
        "captions": [f"caption “{i}”" for i in range(count)],
        "names": [f"{i}.png" for i in range(count)],
    }
    return CodeStore(**{"codes": codes, **known, **changes})


def same(one, other):
    fields = ("sizes", "tokenizer", "data", "classes", "captions", "names")
    assert all(getattr(one, name) == getattr(other, name) for name in fields)
    assert torch.equal(one.codes, other.codes) and one.packed.dtype == other.packed.dtype
    assert (one.labels is None) == (other.labels is None)
    assert one.labels is None or torch.equal(one.labels, other.labels)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.sampled_from([2, 256, 257, 65536, 65537, 2**31, 2**40]), min_size=1, max_size=3),
    space=st.lists(st.integers(1, 3), max_size=3),
    count=st.integers(1, 4),
    labelled=st.booleans(),
)
def test_what_is_saved_is_read(tmp_path_factory, sizes, space, count, labelled):
    books = [torch.randint(size, (count, *space)) for size in sizes]
    for book, size in zip(books, sizes, strict=True):
        book.view(-1)[0] = size - 1
    codes = torch.stack(books, 1) if len(sizes) > 1 else books[0]
    known = {} if labelled else {"labels": None, "classes": (), "captions": None, "names": ()}
    store = a_store(count, codes=codes, sizes=sizes, **known)
    path = tmp_path_factory.mktemp("codes") / "codes.safetensors"
    store.save(path)
    read = CodeStore.load(path, "t1")
    same(read, store)
    assert torch.equal(read.codes, codes) and read.codes.dtype == torch.int64


def test_codes_take_little_room(tmp_path):
    store = a_store(codes=torch.zeros(6, 100_000, dtype=torch.int64), sizes=(1024,))
    store.save(tmp_path / "codes.safetensors")
    assert (tmp_path / "codes.safetensors").stat().st_size < 6 * 100_000 * 2 + 5000
    assert [smallest_type(size) for size in (256, 257, 65537)] == [torch.uint8, torch.uint16, torch.int32]


def test_part_of_a_store():
    store, chosen = a_store(), torch.tensor([4, 1])
    part = store.subset(chosen)
    assert torch.equal(part.codes, store.codes[chosen]) and part.names == ("4.png", "1.png")
    batch = store.batch(chosen)
    assert torch.equal(batch.codes, part.codes) and torch.equal(batch.labels, part.labels)
    assert batch.captions == part.captions and torch.equal(batch.indices, chosen)


def test_codes_of_another_tokenizer(tmp_path):
    path = tmp_path / "codes.safetensors"
    a_store().save(path)
    with pytest.raises(UserError, match=r"another tokenizer \(t1\); codes of the tokenizer t2"):
        CodeStore.load(path, "t2")
    assert CodeStore.load(path, None).tokenizer == "t1"


@pytest.mark.parametrize("length", [0, 4, 100, -200, -1])
def test_a_file_that_is_cut_short(tmp_path, length):
    path = tmp_path / "codes.safetensors"
    a_store().save(path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError, match="cut short or damaged"):
        CodeStore.load(path, "t1")


def test_other_files(tmp_path):
    with pytest.raises(UserError, match="no file"):
        CodeStore.load(tmp_path / "none.safetensors", None)
    with pytest.raises(UserError, match="cut short or damaged"):
        CodeStore.load(tmp_path, None)
    save_file({"codes": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="no store of codes"):
        CodeStore.load(tmp_path / "other.safetensors", None)


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "codes.safetensors"
    a_store().save(path)

    def full(tensors, path, metadata):
        Path(path).write_bytes(bytes(100))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(UserError, match="disk is full"):
        a_store(data="d2").save(path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert CodeStore.load(path, "t1").data == "d1"


def test_no_memory_is_no_damage_and_does_not_end_the_process(tmp_path, monkeypatch):
    """The library would end it."""
    path = tmp_path / "codes.safetensors"
    a_store().save(path)

    def refuse(*arguments):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr("mmap.mmap", refuse)
    with pytest.raises(MemoryError):
        CodeStore.load(path, "t1")
    with pytest.raises(MemoryError):
        a_store().save(tmp_path / "other.safetensors")
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"sizes": (23,)}, "0 … 23; 0 … 22 was expected"),
        ({"codes": torch.full((6, 1), -1)}, "-1"),
        ({"sizes": (512, 512, 512)}, "2 codebooks"),
        ({"labels": torch.zeros(5, dtype=torch.int64)}, "5 labels"),
        ({"labels": torch.full((6,), 2)}, "2 classes"),
        ({"captions": ["x"]}, "1 captions"),
        ({"names": ["x"]}, "1 names"),
    ],
)
def test_what_does_not_agree(changes, words):
    with pytest.raises(UserError, match=words):
        a_store(**changes)


def test_the_second_codebook_has_its_own_limit():
    codes = torch.tensor([[[1], [9]]])
    store = CodeStore(codes, sizes=(2, 10), tokenizer="t", data="d")
    assert torch.equal(store.read(torch.tensor([0])), codes)
    with pytest.raises(UserError, match="0 … 1 was expected"):
        CodeStore(codes.flip(1), sizes=(2, 10), tokenizer="t", data="d")


def test_equal_stores_are_equal_files(tmp_path):
    """Whatever the order in which the library writes what it keeps in a table."""
    made = []
    for number in range(6):
        store = CodeStore(torch.tensor([[0, 3]]), sizes=(4,), tokenizer="t", data="d", names=("ä",))
        store.save(tmp_path / f"{number}.safetensors")
        made.append((tmp_path / f"{number}.safetensors").read_bytes())
    assert len(set(made)) == 1 and CodeStore.load(tmp_path / "0.safetensors", "t").names == ("ä",)
