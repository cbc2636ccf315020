"""The page of samples: new pictures that appear while their codes are drawn, and what can be made of them."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import torch
from fastapi import APIRouter
from pydantic import BaseModel, Field

from caselli.canvas import Redrawing, interpolated_codes, varied_codes
from caselli.model import Model, unfinished
from caselli.sampling import Sampling
from caselli.sampling import sample as draw
from caselli.studio.context import Loaded, Studio, conditions
from caselli.studio.images import addresses
from caselli.studio.words import sample_words
from caselli.studio.works import Work

MOST = 256
"""Pictures drawn at a time; the command draws more."""


class Options(BaseModel):
    """Options of drawing, by the names that `Sampling` has."""

    temperature: float = Field(1.0, ge=0, le=100)
    top_k: int = Field(0, ge=0, le=1 << 20)
    top_p: float = Field(1.0, gt=0, le=1)
    min_p: float = Field(0.0, ge=0, le=1)
    guidance: float | None = Field(None, ge=0, le=100)
    """Strength; None for the run's own."""

    def sampling(self) -> Sampling:
        """The record that the drawing takes."""
        return Sampling(**self.model_dump(include=set(Options.model_fields)))


class Asked(Options):
    """New pictures that are asked for."""

    run: str
    page: str = Field("sample", max_length=16)
    """The page that shows them."""
    count: int = Field(8, ge=1, le=MOST)
    label: str = ""
    text: str = ""
    seed: int = Field(0, ge=0, le=1 << 53)


class Near(Asked):
    """Pictures near a given one."""

    codes: list[int]
    strength: float = Field(0.5, ge=0, le=1)


class Between(Asked):
    """Steps from one picture to another."""

    first: list[int]
    last: list[int]
    count: int = Field(8, ge=2, le=MOST)
    smooth: float = Field(0.0, ge=0, le=1)


def router(studio: Studio) -> APIRouter:
    """The requests of the page."""
    api = APIRouter(prefix="/sample")

    @api.get("/model")
    def model(run: str) -> dict[str, Any]:
        return described(studio.loaded(run))

    @api.post("/draw")
    def new(asked: Asked) -> Any:
        return studio.works.begin(asked, lambda work: _draw(studio, asked, work))

    @api.post("/words")
    def words(asked: Asked) -> dict[str, str]:
        folder = studio.folder(asked.run)
        return {"command": sample_words(folder, asked, asked.sampling())}

    @api.post("/variations")
    def near(asked: Near) -> Any:
        return studio.works.begin(asked, lambda work: _vary(studio, asked, work))

    @api.post("/between")
    def between(asked: Between) -> Any:
        return studio.works.begin(asked, lambda work: _go_between(studio, asked, work))

    return api


def described(loaded: Loaded) -> dict[str, Any]:
    """A run as the controls of the pages need to know it."""
    trained = loaded.trained
    about: dict[str, Any] = {
        "title": trained.title,
        "size": trained.size,
        "channels": trained.channels,
        "classes": list(trained.classes),
        "grid": None,
        "prior": False,
        "text": False,
        "smaller": 0,
    }
    if trained.grid is not None:
        grid, prior = trained.grid, trained.prior
        about["grid"] = dataclasses.asdict(grid)
        about["sizes"] = list(trained.tokenizer.quantizer.sizes)
        if prior is not None:
            small = prior.config.condition_picture == "low_resolution"
            about |= {
                "prior": True,
                "text": prior.alphabet.text is not None,
                "guidance": prior.config.guidance,
                "sees_all": prior.sees_all_known,
                "smaller": trained.condition_size if small else 0,
            }
    return about


def _draw(studio: Studio, asked: Asked, work: Work) -> None:
    loaded = studio.loaded(asked.run)
    if loaded.trained.grid is None:
        _draw_at_once(loaded, asked, work)
        return
    model, begin, drawn = loaded.model(), time.perf_counter(), 0
    model.require_prior()
    told, seeds = (
        conditions(model, asked.count, asked.label, asked.text),
        range(asked.seed, asked.seed + asked.count),
    )
    total = asked.count * model.codes_per_picture

    def watch(sequence: torch.Tensor) -> None:
        nonlocal drawn
        drawn = int((sequence >= 0).sum())
        work.tell_now_and_then(
            lambda: {
                "drawn": drawn,
                "of": total,
                "rate": drawn / max(time.perf_counter() - begin, 1e-9),
                "pictures": addresses(unfinished(model, model.order.restore(sequence, model.grid))),
            }
        )

    with loaded.engine() as engine:
        sequence = draw(engine, told, list(seeds), asked.sampling(), watch=watch)
    rate = total / (time.perf_counter() - begin)
    work.tell(shown(model, model.order.restore(sequence, model.grid)) | {"rate": rate, "engine": engine.name})


def _draw_at_once(loaded: Loaded, asked: Asked, work: Work) -> None:
    """Pictures of a one-stage family: there are no codes to watch."""
    begin = time.perf_counter()
    made = loaded.trained.sample(asked.count, asked.label or None, asked.seed)
    work.tell(
        {"pictures": addresses(made), "codes": None, "rate": asked.count / (time.perf_counter() - begin)}
    )


def shown(model: Model, codes: torch.Tensor) -> dict[str, Any]:
    """The last part of a work: pictures with their codes."""
    return {"pictures": addresses(model.decode(codes)), "codes": codes.flatten(1).tolist()}


def _vary(studio: Studio, asked: Near, work: Work) -> None:
    loaded = studio.loaded(asked.run)
    model = loaded.model()
    with loaded.engine() as engine:
        how = Redrawing(
            asked.strength,
            options=asked.sampling(),
            conditions=conditions(model, asked.count, asked.label, asked.text),
            seed=asked.seed,
            progress=lambda codes: work.check(),
            engine=engine,
        )
        codes = loaded.grid_codes([asked.codes])
        work.tell(shown(model, varied_codes(model, codes, asked.count, how)))


def _go_between(studio: Studio, asked: Between, work: Work) -> None:
    loaded = studio.loaded(asked.run)
    model, how = loaded.model(), None
    ends = model.decode(loaded.grid_codes([asked.first, asked.last])).cpu()
    with loaded.engine() as engine:
        if asked.smooth and asked.count > 2:
            told = conditions(model, asked.count - 2, asked.label, asked.text)
            how = Redrawing(
                asked.smooth,
                options=asked.sampling(),
                conditions=told,
                seed=asked.seed,
                progress=lambda codes: work.check(),
                engine=engine,
            )
        work.tell(shown(model, interpolated_codes(model, ends, asked.count, how)))
