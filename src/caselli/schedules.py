"""Curves over the share of a picture that is done, by name: growth of guidance, number of masked codes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

__all__ = ["GUIDANCE_SCHEDULES", "MASK_SCHEDULES"]

GUIDANCE_SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda share: 1.0,
    "linear": lambda share: share,
    "cosine": lambda share: (1 - math.cos(math.pi * share)) / 2,
}
"""Share of the guidance that is in force when a share of the sequence has been drawn."""

MASK_SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "cosine": lambda r: (r * math.pi / 2).cos(),
    "arccos": lambda r: r.arccos() * 2 / math.pi,
    "linear": lambda r: 1 - r,
    "square": lambda r: 1 - r**2,
    "cubic": lambda r: 1 - r**3,
    "root": lambda r: 1 - r.sqrt(),
}
"""Share of the codes that is still masked when a share r of the rounds is done, both tensors: from 1 at r = 0
to 0 at r = 1. Curves above the line keep few codes at first and many once most are known; root the other way
round.

Sources: Chang et al. 2022, MaskGIT: Masked Generative Image Transformer; Yu et al. 2024, An Image is Worth 32
Tokens for Reconstruction and Generation (arccos)."""
