"""A folder of pictures."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from caselli.data.caption_files import CAPTIONS
from caselli.data.captions import read_captions
from caselli.data.kinds import left_out
from caselli.data.layout import layout_of
from caselli.data.listing import Listing, read_listing, shown
from caselli.data.pictures import Pictures
from caselli.data.source import Request, Source
from caselli.data.tree import tree_of
from caselli.decoding import Location
from caselli.errors import UserError


class Folder(Source):
    """A folder with pictures at any depth, in the order of their names.

    What its folders mean, parts for training and testing and classes, is told by `layout_of`; which files
    are read by `tree_of`. Captions are told by `read_captions`.
    """

    expected = "a folder of pictures"

    @staticmethod
    def accepts(source: str) -> bool:
        return os.path.isdir(source)

    @staticmethod
    def open(source: str, request: Request) -> Pictures:
        plain = plain_listing(source)
        layout = layout_of(plain.names)
        listing = dataclasses.replace(
            plain.subset(layout.kept),
            labels=layout.classes,
            held_out=layout.held_out,
            notes=(*layout.notes, *plain.notes),
        )
        return read_listing(listing, request)


def plain_listing(source: str) -> Listing:
    """The pictures of a folder with their captions, whatever its folders mean.

    Errors: `UserError` for a folder without pictures.
    """
    root, tree = Path(source), tree_of(source)
    if not tree.pictures:
        raise UserError(
            f"the folder {source} holds no pictures ({_contents(tree.files)})",
            "files such as .png, .jpg, .webp were expected",
            "; ".join(left_out(tree.files)),
        )
    names = [shown(name) for name in tree.pictures]
    told = read_captions(root, tree.files, tree.pictures, names)
    read = told.read.union(tree.pictures)
    notes = (*told.notes, *left_out(name for name in tree.files if name not in read), *tree.left_out)
    elsewhere = [name for name in tree.files if name.endswith(f"/{CAPTIONS}")]
    if elsewhere:
        notes += (f"{elsewhere[0]} was not read: {CAPTIONS} is looked for in the folder itself",)
    locations = [Location(str(root / name)) for name in tree.pictures]
    return Listing(
        shown(root.resolve().name),
        locations,
        names,
        captions=told.captions,
        notes=notes,
    )


def _contents(files: Sequence[str]) -> str:
    if not files:
        return "it is empty"
    counts = collections.Counter(os.path.splitext(name)[1] or "no suffix" for name in files)
    return "it holds " + ", ".join(f"{count} × {suffix}" for suffix, count in counts.most_common(4))
