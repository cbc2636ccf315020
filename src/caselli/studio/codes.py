"""The page of codes: a picture as its grid, what else could stand at a place, where a code occurs."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from fastapi import APIRouter, Body
from pydantic import BaseModel, Field
from starlette.requests import Request

from caselli.model import alternatives, surprise
from caselli.studio.context import Loaded, Studio, conditions
from caselli.studio.images import address, addresses, uploaded

SHOWN, MOST = 12, 48
"""Alternatives shown unless asked otherwise, and most pictures of a page."""


class Codes(BaseModel):
    """A picture of a run, by its codes, and its conditions."""

    run: str
    codes: list[int] = Field(max_length=1 << 16)
    label: str = ""
    text: str = ""


class Place(Codes):
    """A place of a picture."""

    place: int
    count: int = Field(SHOWN, ge=1, le=MOST)


class Code(BaseModel):
    """A code of a codebook of a run."""

    run: str
    code: int
    codebook: int = 0
    count: int = Field(SHOWN, ge=1, le=MOST)


def router(studio: Studio) -> APIRouter:
    """The requests of the page."""
    api = APIRouter(prefix="/codes")

    @api.get("/held_out")
    def held_out(run: str, first: int = 0, count: int = SHOWN) -> dict[str, Any]:
        loaded = studio.loaded(run)
        store = loaded.codes("held_out")
        chosen = torch.arange(max(0, first), min(len(store), max(0, first) + min(count, MOST)))
        codes = store.read(chosen)
        pictures = addresses(loaded.model().decode(codes)) if len(chosen) else []
        shown = [
            {
                "codes": codes[n].flatten().tolist(),
                "picture": picture,
                "name": store.names[i] if store.names else str(i),
                "label": store.classes[int(store.labels[i])] if store.labels is not None else "",
                "text": store.captions[i] if store.captions is not None else "",
            }
            for n, (i, picture) in enumerate(zip(chosen.tolist(), pictures, strict=True))
        ]
        return {"total": len(store), "pictures": shown}

    @api.post("/encode")
    def encode(run: str, request: Request, data: bytes = Body(b"")) -> dict[str, Any]:
        model = studio.loaded(run).model()
        picture = uploaded(data, model.size, model.channels)
        return {"codes": model.encode(picture)[0].flatten().tolist(), "original": address(picture[0])}

    @api.post("/look")
    def look(asked: Codes) -> dict[str, Any]:
        loaded = studio.loaded(asked.run)
        model, codes = loaded.model(), loaded.grid_codes([asked.codes])
        bits = None
        if model.prior is not None:
            told = conditions(model, 1, asked.label, asked.text)
            bits = [round(value, 3) for value in surprise(model, codes, told)[0].flatten().tolist()]
        return {"picture": address(model.decode(codes)[0]), "bits": bits}

    @api.post("/alternatives")
    def other(asked: Place) -> dict[str, Any]:
        loaded = studio.loaded(asked.run)
        model, codes = loaded.model(), loaded.grid_codes([asked.codes])
        told = conditions(model, 1, asked.label, asked.text)
        found = alternatives(model, codes, asked.place, asked.count, told)
        changed = codes.flatten(1).repeat(len(found.codes), 1)
        changed[:, asked.place] = found.codes
        pictures = addresses(model.decode(changed.unflatten(1, model.grid.shape)))
        listed = zip(found.codes.tolist(), found.probabilities.tolist(), pictures, strict=True)
        return {
            "own": found.own,
            "alternatives": [{"code": k, "probability": p, "picture": x} for k, p, x in listed],
        }

    @api.post("/occurrences")
    def occurrences(asked: Code) -> dict[str, Any]:
        return _occurrences(studio.loaded(asked.run), asked)

    @api.get("/fields")
    def fields(run: str, row: int, column: int) -> dict[str, Any]:
        found = studio.loaded(run).fields()
        return {
            "sees": dataclasses.asdict(found.sees(row, column)),
            "reaches": dataclasses.asdict(found.reaches(row, column)),
        }

    return api


def _occurrences(loaded: Loaded, asked: Code) -> dict[str, Any]:
    """Share of use of a code among the training pictures, and some of the places where it occurs."""
    store, model = loaded.codes("train"), loaded.model()
    books, positions = model.grid.codebooks, model.grid.positions
    places = store.occurrences(asked.code, min(asked.codebook, books - 1))
    some = places[torch.linspace(0, len(places) - 1, min(asked.count, len(places))).long()]
    pictures = addresses(model.decode(store.read(some[:, 0]))) if len(some) else []
    width = model.grid.width
    shown = [
        {"picture": x, "row": place % positions // width, "column": place % width, "name": _name(store, i)}
        for (i, place), x in zip(some.tolist(), pictures, strict=True)
    ]
    return {"times": len(places), "of": len(store) * positions, "places": shown}


def _name(store: Any, index: int) -> str:
    return store.names[index] if store.names else str(index)
