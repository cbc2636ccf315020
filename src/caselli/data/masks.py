"""Folders of pictures with masks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from caselli.decoding import BadPicture, bad_if_broken, opened, oriented
from caselli.errors import UserError
from caselli.files import regular
from caselli.shapes import Shaped, Tensor

ENDINGS = (".png", ".gif", ".bmp", ".tif", ".tiff")
"""Files that keep every value as it is; .jpg does not."""
CLASS_NAMES = "classes.txt"


def mask_files(folder: Path) -> dict[str, Path]:
    """Stem (with the folders above it) → mask, of every mask at any depth.

    Errors: `UserError` for a folder without masks, or two masks of one stem.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in ENDINGS or path.name.startswith("."):
            continue
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in found:
            raise UserError(f"{path} and {found[stem].name} were given", "one mask of a stem was expected")
        found[stem] = path
    if not found:
        raise UserError(f"the folder {folder} holds no masks", f"files of {', '.join(ENDINGS)} were expected")
    return found


def read_masks(folder: Path, names: Sequence[str], size: int) -> Shaped[Tensor, "n S S"]:
    """The mask of each picture, in the order of the pictures' names; cropped and resized as pictures are.

    Grey or palette masks hold each pixel's class as its value, 255 for pixels of no class. Where the whole
    set has no other values than 0 and 255, 255 is class 1.

    Errors: `UserError` naming the first picture without a mask, or the mask that cannot be read.
    """
    files = mask_files(folder)
    stems = [os.path.splitext(name)[0] for name in names]
    missing = [stem for stem in stems if stem not in files]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(names)} pictures have no mask in {folder} ({missing[0]}, ...)",
            "a mask of the picture's stem was expected",
        )
    masks = torch.from_numpy(np.stack([_read(files[stem], size) for stem in stems]))
    if set(masks.unique().tolist()) <= {0, 255}:
        masks = masks.clamp(max=1)
    return masks


def class_names(folder: Path, masks: Shaped[Tensor, "n S S"], void: int) -> tuple[str, ...]:
    """The lines of `classes.txt`, or the classes' numbers."""
    present = masks[masks != void]
    count = int(present.max()) + 1 if len(present) else 0
    path = folder / CLASS_NAMES
    if not path.is_file():
        return tuple(map(str, range(max(count, 2))))
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    names = tuple(line.strip() for line in lines if line.strip())
    if len(names) < max(count, 2):
        raise UserError(
            f"{path} names {len(names)} classes",
            f"{max(count, 2)} were expected, one a line",
        )
    return names


def _read(path: Path, size: int) -> np.ndarray:
    try:
        with bad_if_broken():
            image = oriented(opened(regular(path).read_bytes()))
            image.load()
    except (OSError, BadPicture) as error:
        raise UserError(f"the mask {path} cannot be read ({error})") from error
    if image.mode not in ("L", "P", "1"):
        raise UserError(
            f"the mask {path} holds {image.mode} values",
            "one value a pixel was expected: its class, 255 for none",
            "save masks as 8-bit grey or palette pictures",
        )
    values = image.point(lambda v: v and 1).convert("L") if image.mode == "1" else image
    side = min(values.size)
    left, top = (values.width - side) // 2, (values.height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(values.resize((size, size), Image.Resampling.NEAREST, box=box))
