"""The page of anatomy: what a layer sees of a picture, and what each layer costs."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from fastapi import APIRouter
from pydantic import BaseModel

from caselli import anatomy
from caselli.anatomy import ReceptiveField, apart, effective_field
from caselli.errors import UnknownName
from caselli.shapes import Float, Tensor
from caselli.studio.context import Loaded, Studio
from caselli.studio.images import heat, of_address
from caselli.trained import Part


class Seen(BaseModel):
    """A position of a layer whose field is asked for."""

    run: str
    part: str
    layer: str = ""
    """Path of the module; empty for the part's own output."""
    position: list[int]
    picture: str = ""
    """A data address, for the effective field; empty for none."""


def router(studio: Studio) -> APIRouter:
    """The requests of the page."""
    api = APIRouter(prefix="/inspect")

    @api.get("/parts")
    def parts(run: str) -> dict[str, Any]:
        found = studio.trained(run).parts()
        return {"parts": {name: list(part.shape) for name, part in found.items()}}

    @api.get("/layers")
    def layers(run: str, part: str) -> dict[str, Any]:
        loaded = studio.loaded(run)
        return loaded.once(f"layers of {part}", lambda: _layers(_part(loaded, part)))

    @api.post("/field")
    def field(asked: Seen) -> dict[str, Any]:
        loaded = studio.loaded(asked.run)
        part = _part(loaded, asked.part)
        fields = loaded.once(f"field of {asked.part}", lambda: ReceptiveField(part.network, part.shape))
        seen = fields.at(asked.layer or None, tuple(asked.position))
        shown = {
            "axes": [
                {"first": axis.first, "last": axis.last, "whole": axis.whole, "picture": axis.picture}
                for axis in seen.axes
            ]
        }
        return shown | {"effective": _effective(loaded, asked, part)}

    return api


def _part(loaded: Loaded, name: str) -> Part:
    parts = loaded.trained.parts()
    if name not in parts:
        raise UnknownName("part", name, parts)
    return dataclasses.replace(parts[name], network=apart(parts[name].network))


def _layers(part: Part) -> dict[str, Any]:
    found = anatomy.inspect(part.network, part.shape)
    return {
        "layers": [
            {
                "path": layer.path,
                "kind": layer.kind,
                "shape": list(layer.output_shape),
                "field": list(layer.size),
                "whole": layer.whole,
                "parameters": layer.parameters,
                "macs": layer.macs,
            }
            for layer in found.layers
        ],
        "summary": found.summary(),
    }


def _effective(loaded: Loaded, asked: Seen, part: Part) -> str | None:
    """Where the trained network really looks, as a grey picture; None without a picture to look at."""
    if not asked.picture or len(part.shape) != 3:
        return None
    x = _input(loaded, asked, part).to(loaded.trained.device)
    shares = effective_field(part.network, x, asked.layer or None, tuple(asked.position))
    return heat((shares / shares.max().clamp_min(1e-12)).sqrt())


def _input(loaded: Loaded, asked: Seen, part: Part) -> Float[Tensor, "1 C H W"]:
    """The part's input for a picture: the picture itself, or its latents where a decoder is looked at."""
    trained = loaded.trained
    picture = of_address(asked.picture, trained.size, trained.channels)
    if part.shape == (trained.channels, trained.size, trained.size):
        return picture
    model = loaded.model()
    with torch.no_grad():
        return model.tokenizer.quantizer.decode(model.encode(picture))
