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


def mixers() -> None:
    """The tables of the mixers and the picture of a remembered signal."""
    import mixers_page

    mixers_page.mixers()


def perceptrons() -> None:
    """A perceptron with its threshold learnt, and one with the threshold fixed at zero."""
    from caselli.anatomy import draw_perceptrons, train_perceptron

    points = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    score = points @ torch.tensor([1.0, 0.5]) - 0.8
    points, labels = points[score.abs() > 0.1], (score[score.abs() > 0.1] > 0).long()
    runs = {
        "learnt": train_perceptron(points, labels),
        "fixed at 0": train_perceptron(points, labels, learn_threshold=False),
    }
    draw_perceptrons(runs, points, labels, PICTURES / "perceptrons.png")


def fields() -> None:
    """What PatchGAN sees of a picture, and where it really looks before any training."""
    from caselli import anatomy
    from caselli.data import draw_scenes, to_float
    from caselli.zoo import NETWORKS

    picture = to_float(draw_scenes(1, 160, 0, "inspect").pictures)[0].expand(3, -1, -1)
    torch.manual_seed(0)
    network = NETWORKS["patchgan"]().eval()
    found = anatomy.inspect(network, (3, 160, 160))
    effective = anatomy.effective_field(network, picture[None], position=found.at.position)
    anatomy.draw_fields(found.spread, PICTURES / "fields.png", picture, effective)


def draws() -> None:
    """The page of every mixer as a prior."""
    import draws_page

    draws_page.draws()


FIGURES = {
    "glyphs": glyphs,
    "demo": demo,
    "mixers": mixers,
    "draws": draws,
    "perceptrons": perceptrons,
    "fields": fields,
}


def main(names: list[str]) -> None:
    PICTURES.mkdir(exist_ok=True)
    for name in names or FIGURES:
        print(name)
        FIGURES[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
