"""How much of a picture is still masked when a share of the rounds is done."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from caselli.shapes import Float, Tensor

MASK_SCHEDULES: dict[str, Callable[[Float[Tensor, "*A"]], Float[Tensor, "*A"]]] = {
    "cosine": lambda r: torch.cos(r * math.pi / 2),
    "arccos": lambda r: torch.arccos(r) * 2 / math.pi,
    "linear": lambda r: 1 - r,
    "square": lambda r: 1 - r**2,
    "cubic": lambda r: 1 - r**3,
    "root": lambda r: 1 - r.sqrt(),
}
"""From 1 at r = 0 to 0 at r = 1. What lies above the line keeps few codes at first and many once most are
known; root the other way round.

Sources: Chang et al. 2022, MaskGIT: Masked Generative Image Transformer; Yu et al. 2024, An Image is Worth 32
Tokens for Reconstruction and Generation (arccos)."""
