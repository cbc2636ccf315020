"""The codes that a prior learns from: made by all ranks, piece by piece; what is cut short goes on."""

from __future__ import annotations

import itertools
import math
import shutil
from pathlib import Path
from typing import Any

import torch

from caselli import ranks
from caselli.data import (
    CodeShards,
    CodeStore,
    Pictures,
    PictureStream,
    finish_shards,
    has_shard,
    stamp_of,
    to_float,
    write_shard,
)
from caselli.engine import Checkpoints
from caselli.errors import UserError
from caselli.files import write_text
from caselli.model import encoded, stored
from caselli.run.conditions import encode_condition
from caselli.run.two_stage_config import TwoStageConfig
from caselli.tokenizer import Tokenizer

OWNER = "tokenizer.txt"
"""File beside shards that are being made: fingerprints of the tokenizer and the pictures that they are of."""
BATCH = 256
"""Pictures that are encoded at a time."""
PIECE = 64
"""Batches that are kept together: of an encoding that is killed, no more are lost on each rank."""


def stored_codes(run: Any, tokenizer: Tokenizer, split: str) -> CodeStore:
    """The codes of a split of a run's pictures, in one file. Each rank makes every so many-th piece that is
    missing, the first joins them."""
    path = run.folder.path / "codes" / f"{split}.safetensors"
    is_there = torch.tensor(ranks.is_first() and _is_of(path, tokenizer))
    if not ranks.from_first(is_there):
        pictures = run.data.train if split == "train" else run.data.held_out
        views = run.config.data.views if split == "train" else 1
        _make_pieces(run, tokenizer, pictures, views, path.with_suffix(""))
        if ranks.is_first():  # alone: nobody else may look where pieces are about to go
            pieces = CodeShards(path.with_suffix(""), tokenizer.fingerprint())
            if path.exists():  # codes of the tokenizer before it was trained on
                _forget_kept(run.folder.path)
            codes, condition = pieces.whole("codes"), pieces.whole("condition")
            stored(tokenizer, pictures, codes, views, condition).save(path)
            shutil.rmtree(pieces.folder)
        ranks.wait()
    return CodeStore.load(path, tokenizer.fingerprint())


def _make_pieces(run: Any, tokenizer: Tokenizer, pictures: Pictures, views: int, folder: Path) -> None:
    """Makes shards of the codes of all views of some pictures, `PIECE` batches each."""
    tokenizer = tokenizer.to(run.machine.device)
    known = {"tokenizer": tokenizer.fingerprint(), "data": pictures.fingerprint}
    count = -(-views * -(-len(pictures) // BATCH) // PIECE)
    if ranks.is_first():
        _begin(folder, " ".join(known.values()), run.folder.path)
    ranks.wait()
    varied = views, run.augment(), run.config.seed
    for number in range(ranks.rank(), count, ranks.count()):
        if not has_shard(folder, number):
            own = range(number * PIECE, (number + 1) * PIECE)
            condition = encode_condition(tokenizer, pictures, run.config, *varied, own)
            codes = torch.cat(list(encoded(tokenizer, pictures, to_float, *varied, BATCH, own)))
            sizes = tokenizer.quantizer.sizes
            write_shard(folder, number, CodeStore(codes, sizes=sizes, condition=condition, **known))
    ranks.wait()
    if ranks.is_first():
        finish_shards(folder, count, sizes=tokenizer.quantizer.sizes, classes=(), **known)


def _is_of(path: Path, tokenizer: Tokenizer) -> bool:
    """True where the store of codes is whole and this tokenizer's."""
    try:
        CodeStore.load(path, tokenizer.fingerprint())
    except UserError:
        return False
    return True


def expect_streamable(config: TwoStageConfig) -> None:
    """Raises a `UserError` for options that go through the pictures more than once or in pairs."""
    if config.data.views > 1 or config.prior.condition_picture in ("low_resolution", "paired"):
        raise UserError(
            "data.views above 1, or a prior conditioned on another picture, was given with data.stream",
            "streamed pictures are encoded once, and alone",
        )


def streamed_codes(run: Any, tokenizer: Tokenizer) -> CodeShards:
    """The codes of a run's streamed pictures; each rank makes every so many-th shard that is missing."""
    stream: PictureStream = run.data.train
    folder = run.folder.path / "codes" / "train"
    owner = f"{tokenizer.fingerprint()} {stream.fingerprint}"
    stamp, count = stamp_of(folder), len(stream.shards.counts)
    ranks.wait()  # all have looked before anything is removed
    if stamp is None or f"{stamp['tokenizer']} {stamp['data']}" != owner:
        if ranks.is_first():
            _begin(folder, owner, run.folder.path)
        ranks.wait()
        tokenizer = tokenizer.to(run.machine.device)
        for number in range(ranks.rank(), count, ranks.count()):
            if not has_shard(folder, number):
                write_shard(folder, number, encoded_shard(tokenizer, stream, number))
        ranks.wait()
        if ranks.is_first():
            known = {"tokenizer": tokenizer.fingerprint(), "data": stream.fingerprint}
            finish_shards(folder, count, sizes=tokenizer.quantizer.sizes, classes=stream.classes, **known)
    ranks.wait()
    return CodeShards(folder, tokenizer.fingerprint())


def encoded_shard(tokenizer: Tokenizer, stream: PictureStream, number: int) -> CodeStore:
    """The codes of one shard's pictures, in order; a bad picture's are its neighbour's."""
    device = next(iter(tokenizer.state_dict().values())).device
    first = stream.firsts[number]
    last = stream.firsts[number + 1]
    # of one size: a picture that cannot be read needs a neighbour in its batch
    parts = torch.arange(first, last).tensor_split(max(1, math.ceil((last - first) / BATCH)))
    batches = [
        (tokenizer.encode(batch.pictures.to(device)).cpu(), batch.labels, batch.captions)
        for batch in map(
            stream.assemble, parts, stream.stream(parts), [None] * len(parts), [None] * len(parts)
        )
    ]
    codes, labels, captions = zip(*batches, strict=True)
    return CodeStore(
        torch.cat(codes),
        sizes=tokenizer.quantizer.sizes,
        tokenizer=tokenizer.fingerprint(),
        data=stream.fingerprint,
        labels=torch.cat(labels) if stream.classes else None,
        classes=stream.classes,
        captions=tuple(itertools.chain(*captions)) if stream.shards.captioned else None,
    )


def _forget_kept(run: Path) -> None:
    """Forgets what the stages over codes kept of a tokenizer that was trained on since."""
    for stage in ("prior", "guide"):
        Checkpoints(run / "checkpoints" / stage).forget_kept()


def _begin(folder: Path, owner: str, run: Path) -> None:
    """Keeps the shards of a coding that was cut short, and drops those of other codes."""
    note = folder / OWNER
    if folder.exists() and (not note.exists() or note.read_text(encoding="utf-8") != owner):
        shutil.rmtree(folder)
        _forget_kept(run)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(note, owner)
