"""Codes of pictures that are streamed: made by all ranks, shard by shard; what is cut short goes on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from caselli import ranks
from caselli.data import CodeShards, CodeStore, PictureStream, finish_shards, has_shard, stamp_of, write_shard
from caselli.engine import Checkpoints
from caselli.errors import UserError
from caselli.files import write_text
from caselli.tokenizer import Tokenizer

OWNER = "tokenizer.txt"
"""File beside shards that are being made: fingerprints of the tokenizer and the pictures that they are of."""
BATCH = 256
"""Pictures that are encoded at a time."""


def streamed_codes(run: Any, tokenizer: Tokenizer) -> CodeShards:
    """The codes of a run's streamed pictures; each rank makes every so many-th shard that is missing.

    Errors: `UserError` for options that go through the pictures more than once or in pairs.
    """
    if run.config.data.views > 1 or run.config.prior.condition_picture in ("low_resolution", "paired"):
        raise UserError(
            "data.views above 1, or a prior conditioned on another picture, was given with data.stream",
            "streamed pictures are encoded once, and alone",
        )
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
    parts = torch.arange(first, stream.firsts[number + 1]).split(BATCH)
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
        captions=captions if stream.shards.captioned else None,
    )


def _begin(folder: Path, owner: str, run: Path) -> None:
    """Keeps the shards of a coding that was cut short, and drops those of other codes."""
    note = folder / OWNER
    if folder.exists() and (not note.exists() or note.read_text(encoding="utf-8") != owner):
        shutil.rmtree(folder)
        Checkpoints(run / "checkpoints" / "prior").forget_best()
    folder.mkdir(parents=True, exist_ok=True)
    write_text(note, owner)
