"""Multi-scale residual quantization: a picture's latents from coarse maps to fine ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from caselli.errors import UserError
from caselli.estimator import pass_straight_through
from caselli.ops import full_precision
from caselli.quantizer.base import Quantized, Quantizer, usage, widened
from caselli.quantizer.several import StageDropout, mean_metrics, parts
from caselli.shapes import Float, Num, Tensor

STEPS = (1 / 8, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1)
"""Sides of the maps as shares of the latents', where nothing else is asked for."""


class MultiScale(Quantizer):
    r"""Maps of codes of growing size, each of what the maps before left; one codebook for all.

    .. math::
        \hat z_s = \hat z_{s-1} + \phi_s\big(\mathrm{up}\,q(\mathrm{down}_s(z - \hat z_{s-1}))\big), \qquad
        L = \frac1S \sum_s \lVert \hat z_s - \mathrm{sg}(z) \rVert^2
            + \beta\,\lVert \mathrm{sg}(\hat z_s) - z \rVert^2 + L_q

    with area averages down, bicubic interpolation up and φ(x) = (1 − ρ) x + ρ conv(x). The output's gradient
    passes straight through.

    Codes are `B T`, one flat axis: the scales one after the other, each in raster order, T = Σ h w; with Q
    codebooks in the wrapped quantizer `B Q T`. The last scale is the latents' own size, so that codes alone
    say what to decode.

    Arguments:
        width: D, the latents' width.
        quantizer: the wrapped one's name in `QUANTIZERS`.
        options: its arguments.
        scales: sides of the maps, coarse to fine: numbers for squares, or pairs (height, width). The last one
            must be the latents' size.
        refinement: ρ, the share of the convolution.
        convolutions: how many different φ the scales share.
        assigned: number of the φ of each scale; by default the one that is nearest on the way from the first
            scale to the last.
        commitment: β, the weight of the encoder's term.
        stage_dropout: share of the training samples that count only their first n scales, n drawn evenly from
            1 to all.

    Raises:
        UserError: for an unknown name or option, no scales, or latents of another size than the last.

    Source: Tian et al. 2024, Visual Autoregressive Modeling: Scalable Image Generation via Next-Scale
    Prediction.

    Example:
        >>> import torch
        >>> quantizer = MultiScale(width=8, scales=(1, 2, 4))
        >>> codes = quantizer.encode(torch.zeros(2, 8, 4, 4))
        >>> codes.shape, quantizer.decode(codes).shape
        (torch.Size([2, 21]), torch.Size([2, 8, 4, 4]))
    """

    def __init__(
        self,
        width: int,
        *,
        quantizer: str = "vq",
        options: dict | None = None,
        scales: Sequence[int | Sequence[int]] = (1, 2, 3, 4),
        refinement: float = 0.5,
        convolutions: int = 4,
        assigned: Sequence[int] = (),
        commitment: float = 0.25,
        stage_dropout: float = 0.0,
    ) -> None:
        pairs = tuple((scale, scale) if isinstance(scale, int) else tuple(scale) for scale in scales)
        if not pairs or any(len(pair) != 2 or min(pair) < 1 for pair in pairs) or convolutions < 1:
            raise UserError(
                f"scales {tuple(scales)}, convolutions {convolutions} were given",
                "one or more sizes and at least one convolution were expected",
            )
        if assigned and (len(assigned) != len(pairs) or not set(assigned) <= set(range(convolutions))):
            raise UserError(
                f"assigned {tuple(assigned)}, {len(pairs)} scales, {convolutions} convolutions were given",
                "the number of one for each scale was expected",
            )
        (shared,) = parts(quantizer, width, options, 1)
        super().__init__(width, shared.sizes)
        self.scales, self.refinement, self.commitment = pairs, refinement, commitment
        self.lengths = tuple(math.prod(pair) for pair in pairs)
        self.shared, self.digits = shared, shared.digits
        self.dropout = StageDropout(stage_dropout)
        number = convolutions if assigned else min(convolutions, len(pairs))
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(number))
        self.assigned = tuple(assigned) or nearest_on_the_way(number, len(pairs))

    @classmethod
    def options_for(cls, side: int) -> dict[str, Any]:
        """Scales up to the latents' size.

        Example:
            >>> MultiScale.options_for(8)
            {'scales': [1, 2, 3, 4, 6, 8]}
        """
        return {"scales": sorted({max(1, round(side * share)) for share in STEPS})}

    def forward(self, latents: Float[Tensor, "B D H W"]) -> Quantized:
        self._check_size(latents)
        with full_precision(latents):
            z = widened(latents)
            total, results, losses, added = torch.zeros_like(z), [], [], []
            for scale in range(len(self.scales)):
                results.append(self.shared(self._down((z - total).detach(), scale)))
                added.append(self.up(results[-1].latents, scale))
                total = total + added[-1]
                trained = F.mse_loss(total, z.detach()) + self.commitment * F.mse_loss(total.detach(), z)
                losses.append(trained + results[-1].loss)
            codes = self._joined([result.codes for result in results])
            together = self._usage(codes)
            counted = sum(self.dropout(added))
        return Quantized(
            latents=(pass_straight_through(z, counted) if self.training else counted).to(latents.dtype),
            codes=codes,
            loss=torch.stack(losses).mean(),
            metrics=mean_metrics(results) | together,
        )

    @torch.no_grad()
    def encode(self, latents: Float[Tensor, "B D H W"]) -> Num[Tensor, "B ..."]:
        self._check_size(latents)
        with full_precision(latents):
            z = widened(latents)
            total, codes = torch.zeros_like(z), []
            for scale in range(len(self.scales)):
                codes.append(self.shared.encode(self._down(z - total, scale)))
                total = total + self.up(self.shared.decode(codes[-1]), scale)
        return self._joined(codes)

    def decode(self, codes: Num[Tensor, "B ..."]) -> Float[Tensor, "B D H W"]:
        self.check_codes(codes)
        if codes.shape[-1] != sum(self.lengths):
            raise UserError(
                f"codes of shape {tuple(codes.shape)} were given",
                f"{sum(self.lengths)} on the last axis, for the scales {self.scales}, were expected",
            )
        total = 0
        with full_precision(codes):
            for scale, piece in enumerate(codes.split(self.lengths, -1)):
                total = total + self.up(self.shared.decode(piece.unflatten(-1, self.scales[scale])), scale)
        return total

    def code_shape(self, space: tuple[int, ...]) -> tuple[int, ...]:
        """One axis of all scales; `UserError` where the last one is not the latents' size."""
        if space != self.scales[-1]:
            raise UserError(
                f"latents of size {space} were given",
                f"{self.scales[-1]}, the last scale, was expected",
                "give scales that end in the latents' size",
            )
        return (sum(self.lengths),)

    places_are_own = False

    def visible_codes(self, keep, space):
        """Codes of each scale of whose cell at least a half is given."""
        shares = [F.adaptive_avg_pool2d(keep[None].float(), scale).flatten() for scale in self.scales]
        return torch.cat(shares) >= 0.5

    def _check_size(self, latents: Tensor) -> None:
        self.check_latents(latents)
        self.code_shape(tuple(latents.shape[2:]))

    def _down(self, latents: Tensor, scale: int) -> Tensor:
        return F.interpolate(latents, self.scales[scale], mode="area")

    def up(self, latents: Tensor, scale: int) -> Tensor:
        """To the last scale's size, then φ: the convolution of the nearest share of the way."""
        if self.scales[scale] != self.scales[-1]:
            latents = F.interpolate(latents, self.scales[-1], mode="bicubic")
        layer = self.convolutions[self.assigned[scale]]
        refined = F.conv2d(latents, widened(layer.weight), widened(layer.bias), padding=1)
        return (1 - self.refinement) * latents + self.refinement * refined

    def _joined(self, codes: list[Tensor]) -> Tensor:
        """Maps to one axis."""
        return torch.cat([piece.flatten(-2) for piece in codes], -1)

    def _usage(self, codes: Tensor) -> dict[str, Tensor]:
        """Use of the codes of all scales, the mean over codebooks."""
        books = codes.unbind(1) if len(self.sizes) > 1 else [codes]
        found = [usage(book, size, self.training) for book, size in zip(books, self.sizes, strict=True)]
        return {name: torch.stack([one[name] for one in found]).mean() for name in found[0]}


def nearest_on_the_way(number: int, scales: int) -> tuple[int, ...]:
    """The convolution of each scale: the one whose share of the way is nearest.

    Example:
        >>> nearest_on_the_way(2, 4)
        (0, 0, 1, 1)
    """
    edge = 1 / (3 * number)
    centres = [edge + (1 - 2 * edge) * index / max(1, number - 1) for index in range(number)]
    ways = [scale / max(1, scales - 1) for scale in range(scales)]
    return tuple(min(range(number), key=lambda index: abs(centres[index] - way)) for way in ways)
