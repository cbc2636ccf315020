"""Softmax attention with parts of published Transformers: biases, normalised queries, 2-D positions."""

from __future__ import annotations

import torch

from caselli.errors import UserError, lookup
from caselli.mixer.dense import Dense
from caselli.mixer.heads import CachedMixer
from caselli.mixer.query_key import QUERY_KEY_NORMS
from caselli.ops import rotary, rotary_angles
from caselli.shapes import Int, Tensor


class FullAttention(CachedMixer):
    """Softmax attention over all keys; a method gives `attend`.

    Arguments:
        width: E.
        bias: whether the projections have one.
        query_key_norm: name in `QUERY_KEY_NORMS`.
        rotary_columns: columns of a grid whose rows turn the first half of the pairs, and whose columns the
            second; 0 for positions on one axis.
        rotary_front: tokens in front of that grid, without a place: their queries and keys become zero, so
            that all of them count alike.
        rotary_filled: True where a sequence that begins behind the first token has its front filled up: then
            the grid is counted from the first token, else from where a packed sequence begins.
        options: as of `caselli.mixer.heads.ProjectingMixer`.
    """

    def __init__(
        self,
        width: int,
        *,
        bias: bool = False,
        query_key_norm: str = "none",
        rotary_columns: int = 0,
        rotary_front: int = 1,
        rotary_filled: bool = False,
        **options,
    ) -> None:
        super().__init__(width, **options)
        if rotary_columns and self.head_width % 4:
            raise UserError(
                f"heads of {self.head_width} were given", "a multiple of 4 was expected on a grid"
            )
        if bias:
            self.query, self.output = Dense(width, width), Dense(width, width)
            self.key_value = Dense(width, self.key_value.out_features)
        norm = lookup(QUERY_KEY_NORMS, "query_key_norm", query_key_norm)
        self.query_key_norm = norm(self.heads, self.head_width)
        self.rotary_columns, self.rotary_front = rotary_columns, rotary_front
        self.counts_from_start = bool(rotary_columns) and not rotary_filled
        self.has_extras = bool(rotary_columns) or query_key_norm not in ("none", "layer")

    def project(self, x, first, begin=None):
        q = self.query(x).unflatten(2, (self.heads, self.head_width)).transpose(1, 2)
        kv = self.key_value(x).unflatten(2, (2, self.kv_heads, self.head_width))
        k, v = kv.permute(2, 0, 3, 1, 4)
        return *self.turn(self.query_key_norm(q, k), first, begin), v

    def turn(self, vectors, first, begin=None):
        if not self.rotary_columns:
            return super().turn(vectors, first, begin)
        places = torch.arange(first, first + vectors[0].shape[2], device=vectors[0].device)
        if begin is not None:
            places = (places - begin)[:, None]
        return self._turned_on_grid(vectors, places - self.rotary_front)

    def _turned_on_grid(self, vectors: tuple[Tensor, ...], places: Int[Tensor, "*B T"]) -> tuple[Tensor, ...]:
        """Vectors rotated by row and column of their place on the grid; zero in front of it."""
        dtype = torch.promote_types(vectors[0].dtype, self.angle_dtype)
        sides = (places // self.rotary_columns, places % self.rotary_columns)
        angles = [rotary_angles(side.to(dtype), self.head_width // 2, self.rotary_base) for side in sides]
        on_grid = (places >= 0)[..., None].to(vectors[0].dtype)
        return tuple(rotary(vector, torch.cat(angles, -1)) * on_grid for vector in vectors)
