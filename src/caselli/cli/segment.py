"""`caselli segment RUN PICTURES... -o FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from caselli.cli.output import free
from caselli.errors import UserError


def command(run: str, pictures: list[str], *, out: str, overwrite: bool = False) -> None:
    """Gives every pixel of pictures a class; masks are as large as the pictures.

    Arguments:
        pictures: picture files or folders.
        out: folder of a palette PNG for each picture, whose values are the classes.
    """
    folder, paths = free(out, overwrite), _paths(pictures)

    from caselli.data import to_float, whole_picture
    from caselli.report import mask_image, save_png
    from caselli.run import load

    model = load(run)
    about = {"run": run, "classes": ", ".join(model.classes)}
    for name, path in paths.items():
        pixels = whole_picture(path, model.channels)
        mask = model.segment(to_float(pixels)[None])[0]
        save_png(mask_image(mask.cpu(), len(model.classes)), folder / f"{name}.png", about)
    print(f"{len(paths)} masks in {folder}", file=sys.stderr)


def _paths(given: list[str]) -> dict[str, Path]:
    """Stem, beneath its folder, → picture."""
    from caselli.data import EXTENSIONS

    found: dict[str, Path] = {}
    for name in map(Path, given):
        inside = sorted(path for path in name.rglob("*") if path.suffix.lower() in EXTENSIONS)
        for path in inside if name.is_dir() else [name]:
            stem = (path.relative_to(name) if name.is_dir() else Path(path.name)).with_suffix("").as_posix()
            if stem in found:
                raise UserError(
                    f"{path} and {found[stem]} were given", "pictures of different names were expected"
                )
            found[stem] = path
    if not found:
        raise UserError(f"{' '.join(given)} was given", "picture files or folders with some were expected")
    return found
