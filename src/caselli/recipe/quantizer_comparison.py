"""Quantizers side by side: the same backbone, pictures and budget for each; a table, a plot, a page."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from caselli import markdown
from caselli.data import Pictures
from caselli.errors import UserError, lookup
from caselli.evaluate import CodebookUse
from caselli.evaluate.model import evaluate_model
from caselli.evaluate.perceptual import Distance, name_of, perceptual_distance
from caselli.evaluate.reconstruction import reconstructions
from caselli.files import atomic_write, write_text
from caselli.model import Model, load
from caselli.quantizer import QUANTIZERS
from caselli.recipe.config import DataConfig, RunConfig
from caselli.recipe.folder import RunFolder
from caselli.recipe.opening import open_pictures
from caselli.recipe.recipes import RECIPES
from caselli.recipe.run import train
from caselli.report import Page, rate_distortion, rows, save_png
from caselli.tokenizer import TokenizerConfig
from caselli.version import __version__

SHOWN = 10
"""Held-out pictures on the page."""
FLOAT_BITS = 32
"""What a number of a continuous bottleneck counts."""
STEPS_OF_SCALES = (1 / 8, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1)
"""Sides of a multi-scale quantizer's maps, as shares of the latents'."""
MEASURED = 4096
"""Pictures of either split that are measured, at most."""
HEADER = (
    "quantizer", "codebooks", "bits", "PSNR", "SSIM", "MS-SSIM", "distance",
    "use, held out", "use, trained on", "perplexity", "steps",
)  # fmt: skip


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


@dataclasses.dataclass(frozen=True)
class Row:
    """One quantizer's figures, on held-out pictures unless said otherwise."""

    quantizer: str
    options: dict[str, Any]
    sizes: list[int]
    """Codes of each codebook; empty for continuous ones."""
    bits_per_picture: float
    """Of the codes; of all latents as 32-bit floats where there are none."""
    psnr: float
    ssim: float
    ms_ssim: float
    perceptual: float
    use_held_out: float | None
    """Share of the codes that occur in the held-out pictures."""
    use_trained: float | None
    """The same over the training pictures."""
    held_out_codes: int
    """How many codes of each codebook the held-out pictures have: with few, not every code can occur."""
    trained_codes: int
    perplexity: float | None
    steps: int
    seconds: float
    parameters: int

    def cells(self) -> list[str]:
        """The line of the table, under `HEADER`."""
        return [
            self.quantizer,
            _books(self.sizes),
            f"{self.bits_per_picture:,.0f}",
            f"{self.psnr:.2f}",
            f"{self.ssim:.3f}",
            f"{self.ms_ssim:.3f}",
            f"{self.perceptual:.4f}",
            *("—" if use is None else f"{use:.1%}" for use in (self.use_held_out, self.use_trained)),
            "—" if self.perplexity is None else f"{self.perplexity:.0f}",
            str(self.steps),
        ]


def compare_quantizers(
    source: str | Path,
    out: str | Path,
    *,
    quantizers: Sequence[str] = (),
    minutes: float | None = None,
    steps: int | None = None,
    recipe: str = "tiny",
    size: int | None = None,
    seed: int = 0,
    vgg: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    changes: dict[str, Any] | None = None,
) -> list[Row]:
    """Trains a tokenizer with each quantizer and compares them on held-out pictures.

    Writes `table.md`, `rate.svg`, `rate.png`, `pictures.png` and `index.html` to the folder after each, and
    keeps the run of each in `runs/NAME`. One that is done is not trained again when the comparison is
    resumed; one that was killed goes on at its last checkpoint.

    Arguments:
        source: pictures; see `caselli.data.open`.
        out: the folder.
        quantizers: names in `QUANTIZERS`; all by default.
        minutes: training time of each.
        steps: training steps of each, instead of minutes.
        recipe: name in `RECIPES`; gives the backbone.
        size: height and width in pixels; None for the set's own.
        seed: of everything random.
        vgg: VGG-16's weights in a local file, for LPIPS; without them a distance that needs none is measured,
            and named so.
        resume: go on with the comparison in `out`.
        overwrite: replace it.
        changes: fields of the run by dotted name, the same for all.

    Errors: `UserError` for whatever is wrong with the arguments, the pictures or the folder.
    """
    lookup(RECIPES, "recipe", recipe)
    names = list(dict.fromkeys(quantizers)) or list(QUANTIZERS)
    for name in names:
        lookup(QUANTIZERS, "quantizer", name)
    distance = perceptual_distance(vgg)
    settings = Settings(str(source), recipe, size, minutes, steps, seed, name_of(distance))
    folder = _begin(Path(out), settings, resume, overwrite)
    pictures = open_pictures(DataConfig(source=str(source), size=size), progress=True)
    for number, name in enumerate(names, 1):
        if _row(folder / "runs" / name) is None:
            print(f"[{number}/{len(names)}] {name}", file=sys.stderr, flush=True)
            _train(folder / "runs" / name, name, settings, pictures, changes or {})
            _measure(folder / "runs" / name, name, pictures, distance)
        done = [row for name in QUANTIZERS if (row := _row(folder / "runs" / name)) is not None]
        _write(folder, settings, done, pictures)
    return done


def table(found: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    return markdown.table(HEADER, [row.cells() for row in found]) + "\n"


def options_for(name: str, side: int) -> dict[str, Any]:
    """The quantizer's options where its defaults do not fit latents of `side` × `side`.

    Example:
        >>> options_for("multi_scale", 8), options_for("vq", 8)
        ({'scales': [1, 2, 3, 4, 6, 8]}, {})
    """
    if name != "multi_scale":
        return {}
    return {"scales": sorted({max(1, round(side * share)) for share in STEPS_OF_SCALES})}


# one quantizer ----------------------------------------------------------------------------------------------


def _begin(folder: Path, settings: Settings, resume: bool, overwrite: bool) -> Path:
    path = folder / "comparison.json"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if not path.exists():
            raise UserError(f"{folder} holds other files", "a new or empty folder was expected")
        if overwrite:
            shutil.rmtree(folder)
        elif not resume:
            raise UserError(
                f"{folder} holds a comparison already",
                "a new folder was expected",
                "go on with --resume, replace it with --overwrite, or choose another -o",
            )
        else:
            _same(json.loads(path.read_text(encoding="utf-8")), dataclasses.asdict(settings))
    write_text(path, json.dumps(dataclasses.asdict(settings), indent=2))
    return folder


def _same(before: dict[str, Any], now: dict[str, Any]) -> None:
    for name, value in now.items():
        if before.get(name) != value:
            raise UserError(
                f"{name} {value!r} was given to a comparison that was begun with {before.get(name)!r}",
                "what is compared shares its budget and pictures",
                "leave it as it was, or choose another -o",
            )


def _train(run: Path, name: str, settings: Settings, pictures: Pictures, changes: dict[str, Any]) -> None:
    shared = {"seed": settings.seed, **changes}
    factor = shared.get("tokenizer.factor") or _backbone(settings.recipe, pictures).factor
    chosen = {
        "tokenizer.quantizer": name,
        "tokenizer.quantizer_options": options_for(name, pictures.size // factor),
    }
    train(
        settings.source,
        run,
        recipe=settings.recipe,
        stage="tokenizer",
        size=settings.size,
        minutes=settings.minutes,
        steps=settings.steps,
        resume=True,
        changes=shared | chosen,
    )


def _backbone(recipe: str, pictures: Pictures) -> TokenizerConfig:
    config = RECIPES[recipe](pictures)
    if not isinstance(config, RunConfig):
        raise UserError(f"recipe {recipe!r} was given", "one that trains a tokenizer was expected")
    return config.tokenizer


def _measure(run: Path, name: str, pictures: Pictures, distance: Distance) -> None:
    """Adds the row to the run's results."""
    model = load(run)
    held_out, trained_on = (_some(pictures.split(split), MEASURED) for split in ("held_out", "train"))
    found = evaluate_model(model, held_out, distance=distance)
    tokenizer = model.tokenizer
    sizes, grid = tokenizer.quantizer.sizes, tokenizer.code_shape((model.size, model.size))
    positions = torch.Size(grid).numel()
    bits = found.bits_per_picture
    steps, seconds = _length(run)
    row = Row(
        quantizer=name,
        options=tokenizer.config.quantizer_options,
        sizes=list(sizes),
        bits_per_picture=_floats(model, held_out) * FLOAT_BITS if bits is None else bits,
        psnr=found.psnr,
        ssim=found.ssim,
        ms_ssim=found.ms_ssim,
        perceptual=found.perceptual,
        use_held_out=found.codebook_use,
        use_trained=_use(model, trained_on) if sizes else None,
        held_out_codes=positions * len(held_out),
        trained_codes=positions * len(trained_on),
        perplexity=found.perplexity,
        steps=steps,
        seconds=seconds,
        parameters=sum(p.numel() for p in tokenizer.parameters()),
    )
    RunFolder(run).add_results(comparison=dataclasses.asdict(row))


def _row(run: Path) -> Row | None:
    found = RunFolder(run).results().get("comparison")
    return None if found is None else Row(**found)


def _use(model: Model, pictures: Pictures) -> float:
    use = CodebookUse(model.tokenizer.quantizer.sizes)
    for _, _, codes, _ in reconstructions(model, pictures):
        use.add(codes)
    return use.together().use


def _floats(model: Model, pictures: Pictures) -> int:
    """Numbers that a continuous bottleneck has for a picture."""
    _, _, codes, _ = next(iter(reconstructions(model, pictures, batch=1)))
    return codes.numel()


def _length(run: Path) -> tuple[int, float]:
    """Steps and seconds of the training, as its log has them."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    last = [line for line in lines if line["stage"] == "tokenizer" and "seconds" in line][-1]
    return last["step"], last["seconds"]


def _books(sizes: Sequence[int]) -> str:
    if not sizes:
        return "continuous"
    return f"{sizes[0]:,}" if len(sizes) == 1 else f"{len(sizes)} × {sizes[0]:,}"


# all of them ------------------------------------------------------------------------------------------------


def _write(folder: Path, settings: Settings, found: Sequence[Row], pictures: Pictures) -> None:
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
    shown = _some(held_out, SHOWN)
    named: dict[str, torch.Tensor] = {}
    for row in found:
        _, x, _, y = next(iter(reconstructions(load(folder / "runs" / row.quantizer), shown)))
        named.setdefault("original", x.cpu())
        named[row.quantizer] = y.cpu()
    return named


def _some(pictures: Pictures, most: int) -> Pictures:
    """At most so many of them, spread evenly."""
    return pictures.subset(torch.linspace(0, len(pictures) - 1, min(most, len(pictures))).long())
