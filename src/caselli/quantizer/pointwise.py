"""The common part of most quantizers: each latent vector is quantized by itself, wherever it lies."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod

from torch import nn

from caselli.errors import UserError
from caselli.ops import full_precision
from caselli.quantizer.base import (
    Quantized,
    Quantizer,
    linear,
    rows,
    unrows,
    usage,
    widened,
)
from caselli.shapes import Float, Int, Num, Tensor


@dataclasses.dataclass(frozen=True)
class Points:
    """n quantized vectors."""

    latents: Float[Tensor, "n d"]
    codes: Int[Tensor, "n ..."]
    """`n`, or `n Q` with several codebooks."""
    loss: Float[Tensor, ""]
    metrics: dict[str, Tensor]
    """Metrics of the method beside `perplexity` and `used`."""


class Projected(Quantizer):
    """A quantizer of vectors of `code_width` channels, with learned projections where that is not the
    latents' width.

    Arguments:
        width: D, the latents' width.
        size: K, or K of each of several codebooks.
        code_width: width in which vectors are quantized.
    """

    def __init__(self, width: int, size: int | tuple[int, ...], code_width: int) -> None:
        sizes = (size,) if isinstance(size, int) else size
        if min(width, *sizes, code_width) < 1:
            raise UserError(
                f"width {width}, codebook size {sizes[0]}, code width {code_width} were given",
                "at least 1 was expected",
            )
        super().__init__(width, sizes)
        self.code_width = code_width
        projected = code_width != width
        self.project_in = nn.Linear(width, code_width) if projected else None
        self.project_out = nn.Linear(code_width, width) if projected else None

    def in_space(self, codes: Tensor, batch: int, space: tuple[int, ...]) -> Tensor:
        """`n` to `B *S`, `n Q` to `B Q *S`."""
        return unrows(codes, batch, space) if codes.dim() > 1 else codes.view(batch, *space)

    def into(self, latents: Float[Tensor, "B D *S"]) -> Float[Tensor, "n d"]:
        """Vectors to quantize, at least float32."""
        points = widened(rows(latents))
        return points if self.project_in is None else linear(self.project_in, points)

    def out(self, points: Float[Tensor, "n d"]) -> Float[Tensor, "n D"]:
        """Vectors of the latents' width."""
        return points if self.project_out is None else linear(self.project_out, points)


class Pointwise(Projected):
    """A quantizer of single vectors, with codebooks of `sizes` for vectors of `code_width` channels.

    A method extends this class with what it does to n vectors of that width in full precision. Here are rows,
    dtypes, checks, and the use of the codebook.
    """

    @abstractmethod
    def quantize_points(self, points: Float[Tensor, "n d"]) -> Points:
        """`forward` for n vectors."""

    @abstractmethod
    def encode_points(self, points: Float[Tensor, "n d"]) -> Int[Tensor, "n ..."]:
        """`encode` for n vectors."""

    @abstractmethod
    def decode_points(self, codes: Int[Tensor, "n ..."]) -> Float[Tensor, "n d"]:
        """`decode` for n codes."""

    def forward(self, latents: Float[Tensor, "B D *S"]) -> Quantized:
        self.check_latents(latents)
        batch, space = latents.shape[0], tuple(latents.shape[2:])
        with full_precision(latents):
            points = self.quantize_points(self.into(latents))
            metrics = usage(points.codes, self.sizes[0], together=self.training)
        return Quantized(
            latents=unrows(self.out(points.latents), batch, space).to(latents.dtype),
            codes=self.in_space(points.codes, batch, space),
            loss=points.loss,
            metrics=metrics | {name: value.detach() for name, value in points.metrics.items()},
        )

    def encode(self, latents: Float[Tensor, "B D *S"]) -> Num[Tensor, "B ..."]:
        self.check_latents(latents)
        with full_precision(latents):
            codes = self.encode_points(self.into(latents))
        return self.in_space(codes, latents.shape[0], tuple(latents.shape[2:]))

    def decode(self, codes: Num[Tensor, "B ..."]) -> Float[Tensor, "B D ..."]:
        self.check_codes(codes)
        with full_precision(codes):
            several = len(self.sizes) > 1
            points = self.out(self.decode_points(rows(codes) if several else codes.flatten()))
        return unrows(points, codes.shape[0], tuple(codes.shape[2 if several else 1 :]))
