"""The page of completion: what is painted over, or lies outside of the picture, is drawn anew."""

from __future__ import annotations

from typing import Any

import torch
from fastapi import APIRouter
from pydantic import Field

from caselli.canvas import Canvas, placed
from caselli.errors import UserError
from caselli.model import Model, paste
from caselli.studio.context import Studio, conditions
from caselli.studio.images import addresses, mask_of, of_address
from caselli.studio.sample import Asked
from caselli.studio.works import Work

LARGEST = 1024
"""Longest side of a frame, in pixels."""


class Completion(Asked):
    """Proposals for a part of a picture that are asked for."""

    page: str = Field("complete", max_length=16)
    picture: str
    """A data address."""
    painted: str = ""
    """A data address, white where the picture is to be made anew; empty for nowhere."""
    width: int | None = Field(None, ge=1, le=LARGEST)
    height: int | None = Field(None, ge=1, le=LARGEST)
    left: int = Field(0, ge=0, le=LARGEST)
    top: int = Field(0, ge=0, le=LARGEST)
    count: int = Field(4, ge=1, le=16)


def router(studio: Studio) -> APIRouter:
    """The requests of the page."""
    api = APIRouter(prefix="/complete")

    @api.post("/draw")
    def draw(asked: Completion) -> Any:
        return studio.works.begin(asked, lambda work: _draw(studio, asked, work))

    return api


def _draw(studio: Studio, asked: Completion, work: Work) -> None:
    loaded = studio.loaded(asked.run)
    model = loaded.model()
    model.require_prior()
    given = of_address(asked.picture, model.size, model.channels)
    keep = ~mask_of(asked.painted, model.size) if asked.painted else torch.ones(model.size, model.size).bool()
    with loaded.engine() as engine:
        for number in range(asked.count):
            work.check()
            if asked.width is None or asked.height is None:
                proposal = _inside(model, asked, given, keep, number, engine, work)
            else:
                proposal = _outside(model, asked, given, keep, number, engine, work)
            work.tell({"number": number, "of": asked.count, "pictures": addresses(proposal)})


def _inside(
    model: Model, asked: Completion, given: Any, keep: Any, number: int, engine: Any, work: Work
) -> Any:
    """A proposal of the picture's own size, the kept pixels as they were."""
    if keep.all():
        raise UserError("nothing was painted over", "paint what is to be made anew, or pull the frame")
    label, text = asked.label or None, asked.text or None
    made = model.complete(
        given,
        keep,
        label,
        asked.seed + number,
        asked.sampling(),
        lambda codes: work.check(),
        engine,
        text,
    )
    return paste(given, made, keep)


def _outside(
    model: Model, asked: Completion, given: Any, keep: Any, number: int, engine: Any, work: Work
) -> Any:
    """A proposal in a larger frame, the kept pixels as they were."""
    size = asked.height, asked.width
    large, there = placed([given[0]], size, (asked.top, asked.left))
    there[asked.top : asked.top + model.size, asked.left : asked.left + model.size] &= keep
    canvas = Canvas(model, size, None, asked.sampling(), 1, lambda codes: work.check(), engine)
    made = canvas.complete(large, there, conditions(model, 1, asked.label, asked.text), asked.seed + number)
    return paste(large, made, there)
