"""`caselli segment RUN PICTURES... -o FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from caselli.cli.output import free, told_apart
from caselli.errors import UserError


def command(run: str, pictures: list[str], *, out: str, overwrite: bool = False) -> None:
    """Gives every pixel of pictures a class; masks are as large as the pictures.

    Arguments:
        pictures: picture files or folders.
        out: folder of a palette PNG for each picture, whose values are the classes.
    """
    folder, paths = free(out, overwrite, folder=True), _paths(pictures)

    from caselli.data import to_float, whole_picture
    from caselli.engine import on_device
    from caselli.files import atomic_folder
    from caselli.report import mask_image, save_png
    from caselli.run import load

    model = on_device(load(run))
    about = {"run": run, "classes": ", ".join(model.classes)}
    with atomic_folder(folder) as scratch:
        for name, path in paths.items():
            pixels = whole_picture(path, model.channels)
            mask = model.segment(to_float(pixels)[None])[0]
            save_png(mask_image(mask.cpu(), len(model.classes)), scratch / f"{name}.png", about)
    print(f"{len(paths)} masks in {folder}", file=sys.stderr)


def _paths(given: list[str]) -> dict[str, Path]:
    """Path to write → picture."""
    from caselli.data import picture_files

    names, files = [], []
    for name in map(Path, given):
        inside = picture_files(name) if name.is_dir() else [name.name]
        names += map(str, inside)
        files += [name / path for path in inside] if name.is_dir() else [name]
    if not files:
        raise UserError(f"{' '.join(given)} was given", "picture files or folders with some were expected")
    return dict(zip(told_apart(names), files, strict=True))
