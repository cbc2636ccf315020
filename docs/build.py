"""`make docs`: makes the pictures of the guide again, each by the function named after it.

`python docs/build.py [NAME...]` makes those named, or all of them. `demo` copies from the folder `demo`,
which `make demo` makes; it is left out where there is none.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch

PICTURES = Path(__file__).parent / "pictures"
ROOT = PICTURES.parent.parent


def glyphs() -> None:
    """The embedded set: one picture of each class, then some of one class."""
    from caselli import data
    from caselli.report import grid, save_png

    pictures = data.open("glyphs", split="held_out")
    of_each = [(pictures.labels == label).nonzero()[:, 0] for label in range(len(pictures.classes))]
    shown = torch.cat([*(found[:1] for found in of_each), of_each[pictures.classes.index("a")][1:19]])
    labels = [pictures.classes[label] for label in pictures.labels[shown].tolist()]
    sheet = grid(data.to_float(pictures.read(shown)), columns=20, labels=labels, scale=1)
    save_png(sheet, PICTURES / "glyphs.png")


def demo() -> None:
    """Samples and reconstructions of the demo."""
    for name in ("samples", "reconstructions"):
        source = ROOT / "demo" / "pictures" / f"{name}.png"
        if source.exists():
            shutil.copyfile(source, PICTURES / f"demo-{name}.png")
        else:
            print(f"no {source.relative_to(ROOT)}: run `make demo` first", file=sys.stderr)


FIGURES = {"glyphs": glyphs, "demo": demo}


def main(names: list[str]) -> None:
    PICTURES.mkdir(exist_ok=True)
    for name in names or FIGURES:
        print(name)
        FIGURES[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
