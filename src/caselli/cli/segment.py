"""`caselli segment RUN PICTURES... -o FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from caselli.cli.parser import add_out, add_run, free, parser
from caselli.errors import UserError


def run(arguments: list[str]) -> None:
    """Parses, segments, writes a mask for every picture."""
    options = parser("segment", "Gives every pixel of pictures a class; masks are as large as the pictures.")
    add_run(options)
    options.add_argument("pictures", nargs="+", metavar="PICTURES", help="picture files or folders")
    add_out(options, "a folder: a palette PNG of each picture's name, whose values are the classes")
    given = options.parse_args(arguments)
    out, paths = free(given.out, given.overwrite), _paths(given.pictures)

    from caselli.data import to_float, whole_picture
    from caselli.report import mask_image, save_png
    from caselli.segmentation import load_segmenter

    segmenter = load_segmenter(given.run)
    about = {"run": str(given.run), "classes": ", ".join(segmenter.classes)}
    for name, path in paths.items():
        pixels = whole_picture(path, segmenter.config.channels)
        mask = segmenter.segment(to_float(pixels)[None])[0]
        save_png(mask_image(mask.cpu(), len(segmenter.classes)), out / f"{name}.png", about)
    print(f"{len(paths)} masks in {out}", file=sys.stderr)


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
