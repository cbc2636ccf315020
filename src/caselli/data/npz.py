"""Pictures in a numpy archive."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from caselli.data.pictures import Pictures, label_table
from caselli.data.source import Request, Source, fitted
from caselli.decoding import white_of
from caselli.errors import UserError
from caselli.shapes import Shaped, Tensor

PICTURES = ("pictures", "images", "x", "arr_0", "picture", "image")
LABELS = ("labels", "y", "label", "targets", "target", "classes", "class", "arr_1")
"""The names under which arrays are looked for, in this order, whatever their case."""


class Npz(Source):
    """A `.npz` file with an array of pictures and, if wanted, one of labels. Pickled objects are never read.

    Pictures are `n H W`, `n H W C` or `n C H W` with 1 or 3 channels, or one is `H W 3`. White is the
    least of `WHITES` that no number exceeds: of bytes 1 or 255, of wider whole numbers up to 65535, of floats
    1 or 255. Labels are whole numbers or words, one a picture.
    """

    expected = "a .npz file"

    @staticmethod
    def accepts(source: str) -> bool:
        return source.lower().endswith(".npz") and os.path.isfile(source)

    @staticmethod
    def open(source: str, request: Request) -> Pictures:
        arrays = _arrays(source)
        pixels = fitted(pictures_of(arrays[0], source), request)
        notes = arrays[2]
        if arrays[0].ndim == 3 and len(arrays[0]) == 3 == len(pixels):
            notes += ("3 grey pictures; one in colour, channels first, is 1 × 3 × H × W",)
        known = {}
        if arrays[1] is not None:
            known["classes"], known["labels"] = _labels(arrays[1], len(pixels), source)
        return Pictures.of(Path(source).stem, pixels, notes=notes, **known)


def pictures_of(array: np.ndarray, source: str) -> Shaped[Tensor, "n C H W"]:
    """An array of pictures in any of the accepted layouts and types, as uint8.

    Example:
        >>> pictures_of(np.ones((2, 8, 8, 3), dtype=bool), "here").shape
        torch.Size([2, 3, 8, 8])
    """
    pixels = torch.from_numpy(np.ascontiguousarray(_bytes(array, source)))
    if 0 in pixels.shape:
        raise UserError(f"{source} holds no pictures: its array is {_shape(array)}")
    if pixels.ndim == 3 and pixels.shape[2] == 3 and min(pixels.shape[:2]) > 3:
        return pixels.movedim(2, 0)[None]  # one picture, not many of width 3
    if pixels.ndim == 3:
        return pixels[:, None]
    first, last = (pixels.ndim == 4 and pixels.shape[axis] in (1, 3) for axis in (1, 3))
    if first == last:
        raise UserError(
            f"the pictures of {source} are {_shape(array)}",
            "n × H × W, n × H × W × C or n × C × H × W was expected, with 1 or 3 channels and no doubt which",
        )
    return pixels if first else pixels.movedim(3, 1)


def _bytes(array: np.ndarray, source: str) -> np.ndarray:
    if array.dtype == np.uint8 and (not array.size or array.max() > 1):
        return array
    if array.dtype.kind not in "buif":
        raise UserError(f"the pictures of {source} are {array.dtype}", "numbers were expected")
    whole = array.dtype.kind in "ui"
    top = white_of(array.min(), array.max(), not whole) if array.size else 1
    if top is not None and array.dtype.kind == "i":
        top = min(top, np.iinfo(array.dtype).max)  # bytes with a sign end at 127
    if top is None or (top > 255 and not whole):
        raise UserError(
            f"the pictures of {source} lie in {array.min()} … {array.max()} ({array.dtype})",
            "0 … 255 was expected, or up to 65535" if whole else "0 … 1 was expected, or 0 … 255",
        )
    return np.rint(array.astype(np.float64) * (255 / top)).astype(np.uint8)


def _shape(array: np.ndarray) -> str:
    return " × ".join(map(str, array.shape)) or "a single number"


def _arrays(source: str) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """The pictures, their labels, and a sentence on the arrays that are left out."""
    try:
        archive = np.load(source, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise UserError(f"{source} is no .npz file", "a zip of numpy arrays was expected")
        with archive:
            found = [_first(PICTURES, archive.files), _first(LABELS, archive.files)]
            if found[0] is None:
                raise UserError(
                    f"{source} holds the arrays {', '.join(archive.files) or 'none'}",
                    f"one of {', '.join(PICTURES)} was expected",
                )
            others = sorted(set(archive.files) - set(found))
            notes = (f"left out, other arrays: {', '.join(others)}",) if others else ()
            arrays = [None if name is None else archive[name] for name in found]
            if not all(one is None or isinstance(one, np.ndarray) for one in arrays):
                raise ValueError("a member that is no array")
            return *arrays, notes
    except UserError:
        raise
    except Exception as error:  # readers of zip files raise anything at all on broken ones
        raise UserError(
            f"{source} cannot be read ({error})", "a whole .npz file without pickled objects was expected"
        ) from error


def _first(wanted: Sequence[str], present: Sequence[str]) -> str | None:
    named = {name.casefold(): name for name in reversed(present)}
    return next((name if name in present else named[name] for name in wanted if name in named), None)


def _labels(array: np.ndarray, count: int, source: str) -> tuple[tuple[str, ...], Tensor]:
    array = array.reshape(count) if array.shape == (count, 1) else array
    if array.shape != (count,) or array.dtype.kind not in "uiU":
        raise UserError(
            f"the labels of {source} are {_shape(array)} ({array.dtype})",
            f"whole numbers or words, one for each of {count} pictures, were expected",
        )
    return label_table(array.tolist())
