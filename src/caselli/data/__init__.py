"""Pictures from anywhere, and stores of codes.

`open(source)` gives `Pictures` from any source; `Batches` gives batches of them, step by step; a
`CodeStore` keeps the codes of a whole set.
"""

from __future__ import annotations

import os
from pathlib import Path

from caselli.data.arrow import Arrow
from caselli.data.augment import Augment
from caselli.data.batches import Batches, Samples
from caselli.data.code_shards import CodeShards, finish_shards, has_shard, stamp_of, write_shard
from caselli.data.codes import CodeBatch, CodeStore
from caselli.data.digits import Digits
from caselli.data.folder import Folder
from caselli.data.glyphs import Glyphs, draw_glyphs
from caselli.data.idx import Idx
from caselli.data.labels import class_numbers
from caselli.data.npz import Npz
from caselli.data.pictures import Bad, Batch, Pictures, check_split
from caselli.data.pixels import enlarged, to_bytes, to_float, with_channels, with_size
from caselli.data.scenes import draw_scenes
from caselli.data.segmentation import VOID, SegmentationBatch, Segmented, open_segmented
from caselli.data.shards import FileShards, Shards, open_shards, shard_pictures
from caselli.data.shuffle import generator, indices_at, spread
from caselli.data.source import Request, Source
from caselli.data.streaming import PictureStream, StreamOrder
from caselli.data.symmetry import asymmetry, mirrors_are_likely
from caselli.data.tar import Tar
from caselli.data.tree import picture_files
from caselli.data.whole import picture_bytes, whole_picture
from caselli.data.workers import default_workers
from caselli.errors import UserError
from caselli.files import regular

SOURCES: dict[str, type[Source]] = {
    "glyphs": Glyphs,
    "digits": Digits,
    "npz": Npz,
    "idx": Idx,
    "arrow": Arrow,
    "tar": Tar,
    "folder": Folder,
}
"""Every kind of source, in the order in which they are tried."""

__all__ = [
    "SOURCES",
    "VOID",
    "Augment",
    "Bad",
    "Batch",
    "Batches",
    "CodeBatch",
    "CodeShards",
    "CodeStore",
    "FileShards",
    "Glyphs",
    "PictureStream",
    "Pictures",
    "Request",
    "Samples",
    "SegmentationBatch",
    "Segmented",
    "Shards",
    "Source",
    "StreamOrder",
    "asymmetry",
    "class_numbers",
    "default_workers",
    "draw_glyphs",
    "draw_scenes",
    "enlarged",
    "finish_shards",
    "generator",
    "has_shard",
    "indices_at",
    "mirrors_are_likely",
    "open",
    "open_segmented",
    "open_shards",
    "picture_bytes",
    "picture_files",
    "shard_pictures",
    "spread",
    "stamp_of",
    "to_bytes",
    "to_float",
    "whole_picture",
    "with_channels",
    "with_size",
    "write_shard",
]


def open(
    source: str | Path,
    *,
    size: int | None = None,
    channels: int | None = None,
    split: str = "train",
    workers: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Pictures:
    """The pictures of a source, square and of one size.

    Each picture is resized so that its short side is `size`, and cropped to the middle square. What cannot be
    read is skipped and named in `Pictures.bad`. About a tenth (at most 5,000) is held out, chosen by a hash
    of the pictures' names; sets that come with a part for testing hold out that part. To have both parts
    without reading the source twice, open `all` and take `.split("train")` and `.split("held_out")` of it.

    Arguments:
        source: a name or a path of one of the kinds in `SOURCES`. A name
            wins over a folder called so, which is asked for as `./digits`.
        size: side in pixels. None: the source's own; of files, the commonest short side, rounded down to a
            multiple of 16 within 16 … 256.
        channels: 1 (grey) or 3 (colour). None: the source's own; of files, 3 unless all that were sampled
            are grey.
        split: `train`, `held_out` or `all`.
        workers: processes that decode. None: one a core where it pays; 0: none.
        seed: seed of sets that are drawn.
        progress: shows a bar while reading.

    Raises:
        UnknownName: there is no such split.
        UserError: there is no such source, it holds no pictures, or over 5 % of them cannot be read.

    Example:
        >>> from caselli import data
        >>> pictures = data.open("digits", size=16, split="held_out")
        >>> pictures.size, pictures.channels, pictures.classes[:3]
        (16, 1, ('0', '1', '2'))
    """
    check_split(split)
    request = Request(size, channels, workers, seed, progress)
    source = os.path.expanduser(source)
    regular(source)
    for kind in SOURCES.values():
        if kind.accepts(source):
            return kind.open(source, request).split(split)
    raise UserError(
        f"the source {source!r} was given"
        + ("" if os.path.exists(source) else ", and there is no such file"),
        "one of these was expected: " + "; ".join(kind.expected for kind in SOURCES.values()),
    )
