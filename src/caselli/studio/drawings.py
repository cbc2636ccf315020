"""Works that are under way, or were: listed, followed from any tab, stopped."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from caselli.studio.context import Studio


class Known(BaseModel):
    """A work by its id."""

    id: str


def router(studio: Studio) -> APIRouter:
    """The requests of all pages that draw."""
    api = APIRouter(prefix="/work")

    @api.get("/last")
    def last(run: str, page: str) -> dict[str, Any]:
        found = studio.works.last(run, page)
        return {"work": None if found is None else found.plain() | {"asked": found.asked}}

    @api.get("/follow")
    def follow(id: str) -> Any:
        return studio.works.one(id).followed()

    @api.post("/stop")
    def stop(asked: Known) -> dict[str, Any]:
        work = studio.works.one(asked.id)
        work.stop()
        return work.plain()

    return api
