"""The quantizers under test: one row per variant worth its own test, small enough that all laws are quick."""

from __future__ import annotations

import dataclasses

import torch

from caselli.quantizer import QUANTIZERS, Quantizer


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    options: dict = dataclasses.field(default_factory=dict)
    width: int = 6
    spaces: tuple[tuple[int, ...], ...] = ((), (7,), (3, 4), (2, 3, 2))
    """Spatial shapes that it takes."""
    any_space: bool = True
    """Whether it takes every other space too."""
    flat: bool = False
    """Whether its codes lie on one axis, whatever the space."""
    integer: bool = True
    """Whether its codes are whole numbers; continuous bottlenecks have none."""
    output_trains_codebook: bool = False
    """Whether the decoder's gradient is meant to move the codebook too."""
    random: bool = False
    """Whether the training output is drawn at random."""
    passes: float | None = None
    """The derivative of the training output by the latents, times the identity, where that is what it is."""

    def build(self) -> Quantizer:
        return QUANTIZERS[self.name](self.width, **self.options)

    def latents(self, batch: int = 8, space: tuple[int, ...] | None = None) -> torch.Tensor:
        return torch.randn(batch, self.width, *(self.spaces[-1] if space is None else space))

    def __str__(self) -> str:
        said = (f"{key}={value}" for key, value in self.options.items() if key != "codebook_size")
        return " ".join([self.name, *said])


SMALL = {"codebook_size": 16}
PLANE = {"spaces": ((3, 4),), "any_space": False, "flat": True}
SQUARE = {"spaces": ((3, 3),), "any_space": False, "flat": True}

CASES: list[Case] = [
    Case("vq", SMALL, passes=1),
    Case("vq", SMALL | {"update": "gradient"}, passes=1),
    Case("vq", SMALL | {"code_width": 3}),
    Case("vq", SMALL | {"distance": "cosine"}),
    Case("vq", SMALL | {"gradient": "rotation", "kmeans_steps": 0, "restart_threshold": 0}),
    Case("vq", SMALL | {"distance": "cosine", "update": "gradient", "code_width": 3}),
    Case("vq", {"codebook_size": 300}, passes=1),
    Case("growing", SMALL | {"first": 3}, passes=1),
    Case("growing", SMALL | {"code_width": 3, "order": "hilbert"}),
    Case("fsq", {"levels": (4, 3, 2)}),
    Case("fsq", {"levels": (5, 4), "symmetric": True}, width=2),
    Case("gumbel", SMALL | {"anneal_steps": 10}, random=True),
    Case("gumbel", SMALL | {"hard": False}, random=True),
    Case("lfq", {"codebook_size": 64}, passes=1),
    Case("lfq", {"codebook_size": 16, "scale": 0.5}),
    Case("bsq", {"codebook_size": 64}),
    Case("bsq", {"codebook_size": 16, "commitment": 0.25}),
    Case("ibq", SMALL, output_trains_codebook=True),
    Case("ibq", SMALL | {"code_width": 3}, output_trains_codebook=True),
    Case("simvq", SMALL | {"code_width": None}, passes=1),
    Case("simvq", SMALL | {"code_width": 3, "gradient": "rotation"}),
    Case("residual", {"options": SMALL, "stages": 3}, passes=3),
    Case("residual", {"options": SMALL, "stages": 1}, passes=1),
    Case("residual", {"quantizer": "lfq", "options": {"codebook_size": 8}, "stages": 2}),
    Case("grouped", {"options": SMALL, "groups": 3}, passes=1),
    Case("grouped", {"quantizer": "residual", "options": {"options": SMALL, "stages": 2}}, passes=2),
    Case("multi_head", {"options": SMALL}, passes=1),
    Case("multi_head", {"options": SMALL, "heads": 1}, passes=1),
    Case("multi_head", {"quantizer": "residual", "options": {"options": SMALL, "stages": 2}}, passes=2),
    Case("multi_scale", {"options": SMALL, "scales": (1, 2, (3, 4))}, passes=1, **PLANE),
    Case("multi_scale", {"quantizer": "fsq", "options": {"levels": (4, 3)}, "scales": (2, (3, 4))}, **PLANE),
    Case("multi_scale", {"quantizer": "residual", "options": {"options": SMALL}, "scales": (3,)}, **SQUARE),
    Case("uniform", {"levels": 5}, passes=1),
    Case("uniform", width=1, passes=1),
    Case("identity", integer=False, passes=1),
    Case("gaussian", integer=False, random=True),
    Case("gaussian", {"code_width": 2, "kl_weight": 0.1}, integer=False, random=True),
]
