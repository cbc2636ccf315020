"""Things to keep and to take home: pictures and codes of samples."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from caselli.data import CodeStore
from caselli.report import grid, save_png
from caselli.studio.context import Loaded, Studio
from caselli.studio.sample import MOST

KEPT = "kept"
"""Folder of a run with the pictures that were kept."""


class Chosen(BaseModel):
    """Pictures of a run, by their codes."""

    run: str
    codes: list[list[int]] = Field(min_length=1, max_length=MOST)
    about: dict[str, str] = {}
    """Words on the making, written into the files."""


def router(studio: Studio) -> APIRouter:
    """The requests."""
    api = APIRouter(prefix="/gallery")

    @api.post("/keep")
    def keep(asked: Chosen) -> dict[str, Any]:
        loaded = studio.loaded(asked.run)
        pictures = loaded.model().decode(loaded.grid_codes(asked.codes)).cpu()
        names = []
        for picture in pictures:
            path = _free(loaded.folder / KEPT)
            save_png(grid(picture[None], scale=1, gap=0), path, asked.about)
            names.append(f"{KEPT}/{path.name}")
        return {"kept": names}

    @api.post("/grid")
    def together(asked: Chosen) -> Response:
        loaded = studio.loaded(asked.run)
        image = grid(loaded.model().decode(loaded.grid_codes(asked.codes)).cpu())
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return Response(buffer.getvalue(), media_type="image/png")

    @api.post("/codes")
    def codes(asked: Chosen) -> Response:
        loaded = studio.loaded(asked.run)
        return Response(_file(loaded, asked.codes), media_type="application/octet-stream")

    return api


def _file(loaded: Loaded, given: list[list[int]]) -> bytes:
    """The file that `caselli decode` reads."""
    model, codes = loaded.model(), loaded.grid_codes(given)
    tokenizer = model.tokenizer
    store = CodeStore(
        codes, sizes=tokenizer.quantizer.sizes, tokenizer=tokenizer.fingerprint(), data="studio"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "codes.safetensors")
        store.save(path)
        return path.read_bytes()


def _free(folder: Path) -> Path:
    """The next free name."""
    taken = [int(path.stem) for path in folder.glob("*.png") if path.stem.isdecimal()]
    return folder / f"{max(taken, default=0) + 1:05}.png"
