"""What a comparison of quantizers writes: a table, a plot, pictures, a page."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch

from caselli.data import Pictures
from caselli.evaluate.reconstruction import reconstructions
from caselli.files import atomic_write, write_text
from caselli.model import load
from caselli.recipe.quantizer_figures import FLOAT_BITS, HEADER, Row, some, table
from caselli.report import Page, rate_distortion, rows, save_png
from caselli.version import __version__

SHOWN = 10
"""Held-out pictures on the page."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What all quantizers of a comparison share, and what a resumed one must agree with."""

    source: str
    recipe: str
    size: int | None
    minutes: float | None
    steps: int | None
    seed: int
    perceptual: str


def write(folder: Path, settings: Settings, found: Sequence[Row], pictures: Pictures) -> None:
    """The table, the plot, the pictures and the page."""
    rates = {row.quantizer: row.bits_per_picture for row in found}
    panels = {
        "PSNR (dB), more is better": {row.quantizer: row.psnr for row in found},
        f"{settings.perceptual}, less is better": {row.quantizer: row.perceptual for row in found},
    }
    plot = rate_distortion(rates, panels)
    for name, content in (("rate.svg", plot), ("rate.png", rate_distortion(rates, panels, "png"))):
        with atomic_write(folder / name) as temporary:
            temporary.write_bytes(content)
    image = rows(_pictures(folder, found, pictures.split("held_out")))
    save_png(image, folder / "pictures.png")
    write_text(folder / "table.md", table(found) + "\n" + _notes(settings, found) + "\n")
    page = Page("Quantizers", f"{settings.source} · {_budget(settings)} each", f"caselli {__version__}")
    page.section("Figures", _notes(settings, found))
    page.table([row.cells() for row in found], HEADER)
    page.section(
        "Rate and distortion", "Up and to the left is better on the left, down and to the left right."
    )
    page.plot(plot, "The quantizers at their bits per picture, without a prior.")
    page.section("Pictures", "Held-out pictures, and what each tokenizer makes of them.")
    page.picture(image)
    page.write(folder / "index.html")


def _notes(settings: Settings, found: Sequence[Row]) -> str:
    one = found[0]
    return (
        f"The {settings.recipe} recipe on {settings.source}, {_budget(settings)} for each quantizer, "
        f"seed {settings.seed}. Distance: {settings.perceptual}. Bits are the codes' without a prior; "
        f"continuous bottlenecks count {FLOAT_BITS} for each number. Use is the share of codes that occur "
        f"among the {one.held_out_codes:,} positions of the held-out pictures, and among the "
        f"{one.trained_codes:,} of the training pictures; perplexity is over the held-out ones."
    )


def _budget(settings: Settings) -> str:
    return f"{settings.steps} steps" if settings.steps else f"{settings.minutes or 0:g} minutes"


def _pictures(folder: Path, found: Sequence[Row], held_out: Pictures) -> dict[str, torch.Tensor]:
    shown = some(held_out, SHOWN)
    named: dict[str, torch.Tensor] = {}
    for row in found:
        _, x, _, y = next(iter(reconstructions(load(folder / "runs" / row.quantizer), shown)))
        named.setdefault("original", x.cpu())
        named[row.quantizer] = y.cpu()
    return named
