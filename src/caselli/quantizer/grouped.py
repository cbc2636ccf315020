"""Grouped quantization: the channels in groups, each with its own codebook."""

from __future__ import annotations

import torch

from caselli.errors import UserError
from caselli.ops import full_precision
from caselli.quantizer.base import Quantized, Quantizer
from caselli.quantizer.several import join_codes, mean_metrics, parts, split_codes
from caselli.shapes import Float, Num, Tensor


class Grouped(Quantizer):
    r"""Product quantization: G groups of D/G neighbouring channels, quantized apart and joined again.

    .. math:: \hat z = [\,q_1(z_{1 \dots D/G}),\; \dots,\; q_G(z_{D - D/G + 1 \dots D})\,]

    The loss is the mean of theirs. Codes are `B Q *S`, group by group.

    Arguments:
        width: D, a multiple of `groups`.
        quantizer: the groups' name in `QUANTIZERS`, `residual` included.
        options: the groups' arguments.
        groups: G.

    Raises:
        UserError: for an unknown name or option, a width that does not divide, or parts without a codebook.

    Source: Jégou, Douze and Schmid 2011, Product Quantization for Nearest Neighbor Search.

    Example:
        >>> import torch
        >>> Grouped(width=8, groups=2).encode(torch.zeros(2, 8, 5)).shape
        torch.Size([2, 2, 5])
    """

    def __init__(
        self, width: int, *, quantizer: str = "vq", options: dict | None = None, groups: int = 2
    ) -> None:
        if groups < 1 or width % groups:
            raise UserError(
                f"width {width}, groups {groups} were given", "a width that is a multiple was expected"
            )
        quantizers = parts(quantizer, width // groups, options, groups)
        super().__init__(width, tuple(size for one in quantizers for size in one.sizes))
        self.groups, self.digits = quantizers, quantizers[0].digits

    def code_shape(self, space: tuple[int, ...]) -> tuple[int, ...]:
        return self.groups[0].code_shape(space)

    def forward(self, latents: Float[Tensor, "B D *S"]) -> Quantized:
        results = [one(piece) for one, piece in self._pieces(latents)]
        with full_precision(latents):  # autocast has no cat of float16 on a CPU
            joined = torch.cat([result.latents for result in results], 1)
        return Quantized(
            latents=joined,
            codes=join_codes([result.codes for result in results], self.groups),
            loss=torch.stack([result.loss for result in results]).mean(),
            metrics=mean_metrics(results),
        )

    def encode(self, latents: Float[Tensor, "B D *S"]) -> Num[Tensor, "B ..."]:
        return join_codes([one.encode(piece) for one, piece in self._pieces(latents)], self.groups)

    def decode(self, codes: Num[Tensor, "B ..."]) -> Float[Tensor, "B D ..."]:
        self.check_codes(codes)
        pieces = split_codes(codes, self.groups)
        return torch.cat([one.decode(piece) for one, piece in zip(self.groups, pieces, strict=True)], 1)

    def _pieces(self, latents: Tensor) -> list[tuple[Quantizer, Tensor]]:
        self.check_latents(latents)
        return list(zip(self.groups, latents.chunk(len(self.groups), 1), strict=True))
