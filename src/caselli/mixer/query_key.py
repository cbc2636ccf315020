"""Normalisations of queries and keys, which keep the scores of large models bounded."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from caselli.shapes import Float, Tensor

LARGEST_SCALE = 100.0
"""Largest factor of scores between unit vectors, as published."""


class NoNorm(nn.Module):
    """Queries and keys as they are."""

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return q, k


class LayerNorms(nn.Module):
    """Layer normalisation of every head's queries, and of its keys.

    Source: Henry et al. 2020, Query-Key Normalization for Transformers; Dehghani et al. 2023, Scaling Vision
    Transformers to 22 Billion Parameters.
    """

    def __init__(self, heads: int, head_width: int) -> None:
        super().__init__()
        self.query, self.key = (nn.LayerNorm(head_width, eps=1e-6) for _ in range(2))

    def forward(
        self, q: Float[Tensor, "B N T d"], k: Float[Tensor, "B M S d"]
    ) -> tuple[Float[Tensor, "B N T d"], Float[Tensor, "B M S d"]]:
        return self.query(q), self.key(k)


class Sphere(nn.Module):
    r"""Queries and keys on the unit sphere, with a learned scale of the scores for each head.

    .. math:: q \leftarrow \min(e^{s_n}, 100)\, \sqrt d\; q / \lVert q \rVert, \qquad
        k \leftarrow k / \lVert k \rVert

    where √d undoes attention's own scale.

    Source: Tian et al. 2024, Visual Autoregressive Modeling (after Liu et al. 2022, Swin Transformer V2).
    """

    def __init__(self, heads: int, head_width: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.full((heads,), math.log(4.0)))
        self.undone = math.sqrt(head_width)

    def forward(
        self, q: Float[Tensor, "B N T d"], k: Float[Tensor, "B M S d"]
    ) -> tuple[Float[Tensor, "B N T d"], Float[Tensor, "B M S d"]]:
        scale = self.log_scale.clamp_max(math.log(LARGEST_SCALE)).exp() * self.undone
        return F.normalize(q, dim=-1) * scale[:, None, None], F.normalize(k, dim=-1)


QUERY_KEY_NORMS: dict[str, Callable[[int, int], nn.Module]] = {
    "none": lambda heads, width: NoNorm(),
    "layer": LayerNorms,
    "sphere": Sphere,
}
"""Normalisations by name: heads and their width → the module."""
