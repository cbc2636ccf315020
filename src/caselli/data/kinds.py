"""Files that are left out for their kind: named, with what would make pictures of them."""

from __future__ import annotations

import collections
import os
from collections.abc import Iterable, Sequence

from caselli.decoding import EXTENSIONS, OPTIONAL

_VIDEO = "take frames of it by ffmpeg -i FILE frame-%05d.png"
_RAW = "develop it by darktable-cli FILE OUT.png"
_EXPORT = "export it as PNG, by ImageMagick or GIMP"
_UNPACK = "unpack it"
_DRAW = "draw it by rsvg-convert FILE -o OUT.png"
_TOLD = "captions are read from captions.csv, metadata.jsonl, or a NAME.txt beside most pictures NAME.png"
_PAGES = "draw its pages by pdftoppm -png FILE page"

REMEDIES: dict[str, str] = {
    **{ending: f"pip install 'caselli[formats]' ({package})" for ending, package in OPTIONAL.items()},
    **dict.fromkeys((".svg", ".svgz"), _DRAW),
    **dict.fromkeys((".pdf", ".eps", ".ps", ".ai"), _PAGES),
    **dict.fromkeys(
        (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".3gp"), _VIDEO
    ),
    **dict.fromkeys((".gifv", ".flv", ".mts", ".m2ts", ".ogv"), _VIDEO),
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw"), _RAW),
    **dict.fromkeys(
        (".psd", ".psb", ".xcf", ".kra", ".exr", ".hdr", ".icns", ".cur", ".emf", ".wmf"), _EXPORT
    ),
    **dict.fromkeys((".dcm", ".nii", ".fits", ".fit", ".jxr", ".wdp", ".heics", ".avci"), _EXPORT),
    **dict.fromkeys((".txt", ".caption", ".jsonl"), _TOLD),
    **dict.fromkeys((".zip", ".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz"), _UNPACK),
}
"""Ending in lower case → how a file of a kind that is not read becomes pictures."""


def left_out(files: Iterable[str], expected: Sequence[str] = ()) -> tuple[str, ...]:
    """A sentence for each kind of file that is not read as a picture, the commonest first.

    Arguments:
        files: names of all files.
        expected: names of files that are read as something else.

    Example:
        >>> left_out(["a.svg", "b/c.SVG", "d.png", "notes"])
        ('left out, 2 × .svg (a.svg, ...): draw it by rsvg-convert FILE -o OUT.png', \
'left out, no kinds of picture that are known: 1 × no ending')
    """
    found: dict[str, list[str]] = collections.defaultdict(list)
    for name in files:
        ending = os.path.splitext(name)[1].lower()
        if ending in EXTENSIONS:  # of a shard, one that belongs to another picture
            ending = "." + os.path.basename(name).partition(".")[2].lower()
        if ending not in EXTENSIONS and name not in expected:
            found[ending].append(name)
    ordered = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    notes = [
        f"left out, {len(names)} × {ending} ({names[0]}{', ...' * (len(names) > 1)}): {REMEDIES[ending]}"
        for ending, names in ordered
        if ending in REMEDIES
    ]
    others = [
        f"{len(names)} × {ending or 'no ending'}" for ending, names in ordered if ending not in REMEDIES
    ]
    if others:
        more = f" and {len(others) - 4} more" if len(others) > 4 else ""
        notes.append(f"left out, no kinds of picture that are known: {', '.join(others[:4])}{more}")
    return tuple(notes)
