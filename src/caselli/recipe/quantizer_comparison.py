"""Quantizers side by side: the same backbone, pictures and budget for each; a table, a plot, a page."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from caselli.data import Pictures
from caselli.errors import UserError, lookup
from caselli.evaluate.perceptual import name_of, perceptual_distance
from caselli.files import write_text
from caselli.quantizer import QUANTIZERS
from caselli.recipe.quantizer_figures import Row, measure, row_of
from caselli.recipe.quantizer_page import Settings, write
from caselli.run.config import DataConfig, RunConfig
from caselli.run.opening import open_pictures
from caselli.run.two_stage import train
from caselli.run.two_stage_recipes import RECIPES
from caselli.tokenizer import TokenizerConfig

STEPS_OF_SCALES = (1 / 8, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1)
"""Sides of a multi-scale quantizer's maps, as shares of the latents'."""


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
        if row_of(folder / "runs" / name) is None:
            print(f"[{number}/{len(names)}] {name}", file=sys.stderr, flush=True)
            _train(folder / "runs" / name, name, settings, pictures, changes or {})
            measure(folder / "runs" / name, name, pictures, distance)
        done = [row for name in QUANTIZERS if (row := row_of(folder / "runs" / name)) is not None]
        write(folder, settings, done, pictures)
    return done


def options_for(name: str, side: int) -> dict[str, Any]:
    """The quantizer's options where its defaults do not fit latents of `side` × `side`.

    Example:
        >>> options_for("multi_scale", 8), options_for("vq", 8)
        ({'scales': [1, 2, 3, 4, 6, 8]}, {})
    """
    if name != "multi_scale":
        return {}
    return {"scales": sorted({max(1, round(side * share)) for share in STEPS_OF_SCALES})}


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
