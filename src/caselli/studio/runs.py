"""The page of runs: what lies in the folder, side by side and live; trainings begun and stopped."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from caselli.errors import UserError, lookup
from caselli.report import Contents, read_run
from caselli.run import RECIPES, RunFolder, Stage, kind_of
from caselli.studio import jobs
from caselli.studio.context import MARK, Studio
from caselli.studio.jail import SELF
from caselli.studio.words import line, short, train_words

POINTS = 240
"""Points of a curve that are sent, at most."""
SAID = 12
"""Sentences of a log that are shown."""
COMPARED = "comparison.json"
"""File that makes a folder a comparison."""
PICTURES = ("pictures", "progress", "kept")
"""Folders of a run whose pictures are shown."""


class Training(BaseModel):
    """A training that is asked for."""

    source: str = Field(min_length=1, max_length=1000)
    name: str = Field(max_length=64)
    recipe: str = "tiny"
    minutes: float | None = Field(None, gt=0, le=100_000)
    """Budget; None for the recipe's, or that of the run that goes on."""
    size: int | None = Field(None, ge=4, le=4096)
    resume: bool = False


class Named(BaseModel):
    """A run."""

    run: str


def router(studio: Studio) -> APIRouter:
    """The requests of the page."""
    api = APIRouter(prefix="/runs")

    @api.get("/all")
    def everything() -> dict[str, Any]:
        jail = studio.jail
        begun = jail.holding(f"{jobs.FOLDER}/{jobs.RECORD}")
        begun = [name.removesuffix(f"/{jobs.FOLDER}") for name in begun]
        names = list(dict.fromkeys((*jail.holding(MARK), *begun)))
        return {
            "folder": str(jail.root),
            "runs": [_listed(studio, name) for name in names],
            "works": [work.plain() for work in studio.works.all() if work.running],
            "comparisons": jail.holding(COMPARED),
            "recipes": {name: (recipe.func.__doc__ or "").split("\n")[0] for name, recipe in RECIPES.items()},
            "may_begin": SELF not in names,
        }

    @api.get("/one")
    def one(run: str) -> dict[str, Any]:
        return _one(studio, run)

    @api.get("/picture")
    def picture(run: str, name: str) -> Response:
        folder, _, file = name.partition("/")
        if folder not in PICTURES or "/" in file or not file.endswith(".png"):
            raise UserError(f"{name!r} was given", "a picture of the run was expected")
        studio.folder(run)
        data = studio.jail.path(f"{run}/{name}").read_bytes()
        return Response(data, media_type="image/png", headers={"cache-control": "private, max-age=86400"})

    @api.post("/words")
    def words(asked: Training) -> dict[str, str]:
        return {"command": line(_words(studio, asked))}

    @api.post("/train")
    def train(asked: Training) -> dict[str, Any]:
        command = _words(studio, asked)
        if not asked.resume and SELF in studio.jail.holding(MARK):
            raise UserError("the studio was opened on one run", "open it on a folder of runs to train more")
        run = studio.folder(asked.name) if asked.resume else studio.jail.new(asked.name)
        return jobs.start(run, command).plain()

    @api.post("/stop")
    def stop(asked: Named) -> dict[str, Any]:
        run = studio.jail.path(asked.run)
        jobs.stop(run)
        return {"stopping": asked.run}

    return api


def _words(studio: Studio, asked: Training) -> list[str]:
    """The command of a training; a source that is no set's name must be a path, never an option."""
    if asked.source.startswith("-"):
        raise UserError(f"the source {asked.source!r} was given", "a set or a folder was expected")
    lookup(RECIPES, "recipe", asked.recipe)
    fields = {"recipe": None if asked.resume else asked.recipe, "minutes": asked.minutes}
    fields |= {} if asked.resume else {"size": asked.size}
    out = studio.jail.root / asked.name
    return train_words(asked.source, short(out), fields, asked.resume)


def _listed(studio: Studio, name: str) -> dict[str, Any]:
    """A run as the list shows it; a broken one says what is wrong with it."""
    title = studio.jail.root.name if name == SELF else name
    shown: dict[str, Any] = {"name": name, "title": title, "error": "", "figures": [], "kind": ""}
    shown["look"] = None
    try:
        folder = studio.jail.path(name)
        job = jobs.found(folder)
        shown |= {"running": job is not None and job.running, "error": job.error if job else ""}
        if not (folder / MARK).exists():
            return shown | {"state": "beginning" if shown["running"] else "not begun", "source": ""}
        studio.folder(name)
        kind = kind_of(folder)
        contents = read_run(folder, kind.figures())
        return shown | {
            "kind": kind.name,
            "state": _state(folder, shown["running"]),
            "source": contents.source() or "",
            "figures": _key_figures(contents),
            "look": _look(folder),
        }
    except UserError as error:
        return shown | {"state": "broken", "error": str(error), "running": False, "source": ""}


def _state(folder: Path, running: bool) -> str:
    """The state of a run in one word or two."""
    if running:
        return "training"
    stages = _stages(folder)
    if all(stage.is_done() for stage in stages):
        return "trained"
    return "in part" if any(stage.has_result() for stage in stages) else "stopped"


def _stages(folder: Path) -> list[Stage]:
    """The stages that the run of a folder goes through."""
    kind, run = kind_of(folder), RunFolder(folder)
    probe = kind.probe(run)
    return [stage(probe) for stage in kind.stage_shares(probe.config.recipe)]


def _key_figures(contents: Contents) -> list[list[str]]:
    """The figures that say how good a run is: label, number, unit."""
    found = []
    for name, figure in contents.figures.items():
        value = contents.figure(name) if figure.key else None
        if value is not None:
            found.append(list(figure.show(value)))
    return found


def _one(studio: Studio, name: str) -> dict[str, Any]:
    """Everything of a run that changes while it is trained."""
    folder = studio.jail.path(name)
    job = jobs.found(folder)
    shown = _listed(studio, name) | {"job": None if job is None else job.plain()}
    if not (folder / MARK).exists():
        return shown | {"curves": [], "said": [], "pictures": [], "left": None, "settings": ""}
    contents = read_run(studio.folder(name), kind_of(folder).figures())
    said = [f"[{message.stage}] {message.text}" for message in contents.messages[-SAID:]]
    return shown | {
        "curves": [
            {"stage": stage, "split": split, "figure": figure, "label": _label(contents, figure)}
            | _thinned(curve)
            for (stage, split, figure), curve in contents.curves.items()
        ],
        "said": said,
        "pictures": _pictures(folder),
        "left": _left(folder, contents) if shown["running"] else None,
        "settings": contents.config_text,
    }


def _label(contents: Contents, name: str) -> str:
    figure = contents.figures.get(name)
    return figure.label if figure else name.replace("_", " ")


def _thinned(curve: Any) -> dict[str, list[float | None]]:
    """Points spread over a curve, its last one among them."""
    every = max(1, math.ceil(len(curve.steps) / POINTS))
    chosen = sorted({*range(0, len(curve.steps), every), len(curve.steps) - 1})
    finite = [x if math.isfinite(x) else None for x in curve.seconds]
    return {
        "steps": [curve.steps[i] for i in chosen],
        "seconds": [finite[i] for i in chosen],
        "values": [curve.values[i] for i in chosen],
    }


def _pictures(folder: Path) -> list[dict[str, Any]]:
    """Names of the pictures of a run, as `picture` takes them, and when each was made; the newest first."""
    made = {path: path.stat().st_mtime_ns for part in PICTURES for path in (folder / part).glob("*.png")}
    newest = sorted(made, key=lambda path: made[path], reverse=True)[:60]
    return [{"name": f"{path.parent.name}/{path.name}", "made": str(made[path])} for path in newest]


def _look(folder: Path) -> dict[str, Any] | None:
    """The picture that shows best what a run can do: its samples, or the newest; None where there is none."""
    found = _pictures(folder)
    return next((each for each in found if each["name"].endswith("/samples.png")), next(iter(found), None))


def _left(folder: Path, contents: Contents) -> float | None:
    """Seconds that the stages still have by their budget; None where they count steps alone."""
    left = 0.0
    for stage in _stages(folder):
        if stage.config.minutes is None:
            return None
        curves = [c for (name, _, _), c in contents.curves.items() if name == stage.name]
        seconds = [s for curve in curves for s in curve.seconds if math.isfinite(s)]
        if not stage.has_result():
            left += max(0.0, 60 * stage.config.minutes - max(seconds, default=0.0))
    return left
