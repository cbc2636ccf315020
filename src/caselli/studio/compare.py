"""The page of comparisons: those in the folder, and one picture before and after."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from caselli.codec import Codec, optimised_png, serialise_one
from caselli.data import to_bytes, to_float, with_size
from caselli.errors import UserError, lookup
from caselli.studio.context import Studio
from caselli.studio.images import address, of_address
from caselli.studio.runs import COMPARED
from caselli.studio.works import Work

SANDBOX = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'self'"
"""Rules for a page that others wrote: no scripts, no requests."""


class Slider(BaseModel):
    """A picture before and after that is asked for."""

    run: str
    page: str = Field("compare", max_length=16)
    picture: str
    """A data address."""
    kind: str
    """Name in `KINDS`."""
    other: str = ""
    """Another run, for `slim`."""
    label: str = ""
    seed: int = 0


def router(studio: Studio) -> APIRouter:
    """The requests of the page."""
    api = APIRouter(prefix="/compare")

    @api.get("/page")
    def page(name: str) -> Response:
        folder = studio.jail.folder(name, COMPARED)
        return _page(studio, f"{name}/index.html", folder.name)

    @api.get("/report")
    def report(name: str) -> Response:
        folder = studio.folder(name)
        return _page(studio, f"{name}/report.html", folder.name)

    @api.post("/slider")
    def slider(asked: Slider) -> Any:
        make = lookup(KINDS, "kind of before and after", asked.kind)
        return studio.works.begin(asked, lambda work: work.tell(make(studio, asked, work)))

    return api


def _page(studio: Studio, path: str, name: str) -> Response:
    """A page that lies in the folder, kept from scripts and requests."""
    try:
        found = studio.jail.path(path)
    except UserError:
        raise UserError(f"{name} has no page yet", remedy="it is written at the end") from None
    return Response(found.read_bytes(), media_type="text/html", headers={"content-security-policy": SANDBOX})


def _codec(studio: Studio, asked: Slider, work: Work) -> dict[str, Any]:
    """The picture, and as its codes bring it back; the bytes of both."""
    model = studio.loaded(asked.run).model()
    picture = of_address(asked.picture, model.size, model.channels)
    codec, pixels = Codec(model), to_bytes(picture)
    group = codec.compress(list(pixels), "codes", shared=False)[0].group
    optimised = len(optimised_png(pixels[0].movedim(0, -1).numpy()))
    data = group.data if group.kind == "png" else serialise_one(codec.fingerprint("codes"), group)
    size = len(data)
    after = f"{size} bytes, {optimised / size:.1f} times smaller"
    return _shown(picture, model.reconstruct(picture), f"PNG, {optimised} bytes", after)


def _slim(studio: Studio, asked: Slider, work: Work) -> dict[str, Any]:
    """The picture as two runs give it back."""
    before, after = studio.loaded(asked.run), studio.loaded(asked.other)
    sizes = [sum(p.stat().st_size for p in run.folder.glob("*.safetensors")) for run in (before, after)]
    models = [run.model() for run in (before, after)]
    pictures = [m.reconstruct(of_address(asked.picture, m.size, m.channels)) for m in models]
    words = [
        f"{name}: {size / 1e6:.1f} MB" for name, size in zip((asked.run, asked.other), sizes, strict=True)
    ]
    return _shown(*pictures, *words)


def _upscaling(studio: Studio, asked: Slider, work: Work) -> dict[str, Any]:
    """The picture made small and enlarged, and drawn anew from the small one."""
    loaded = studio.loaded(asked.run)
    model = loaded.model()
    picture = of_address(asked.picture, model.size, model.channels)
    side = model.require_small_size()
    small = to_float(with_size(to_bytes(picture), side))
    with loaded.engine() as engine:
        made = model.sample(
            1,
            asked.label or None,
            asked.seed,
            progress=lambda codes: work.check(),
            engine=engine,
            picture=small,
        )
    enlarged = F.interpolate(small, size=(model.size, model.size), mode="bicubic").clamp(-1, 1)
    return _shown(enlarged, made, f"{side} pixels, enlarged", f"{model.size} pixels, drawn")


KINDS = {"codec": _codec, "slim": _slim, "upscaling": _upscaling}
"""Kinds of before and after."""


def _shown(before: torch.Tensor, after: torch.Tensor, *words: str) -> dict[str, Any]:
    difference = None
    if before.shape == after.shape:
        squared = float(((before.cpu() - after.cpu()) ** 2).mean())
        difference = None if squared == 0 else 10 * torch.log10(torch.tensor(4 / squared)).item()
    return {
        "before": address(before[0]),
        "after": address(after[0]),
        "words": list(words),
        "psnr": difference,
    }
