"""Multi-head quantization: the channels in heads that share one codebook."""

from __future__ import annotations

import dataclasses

from caselli.errors import UserError
from caselli.quantizer.base import Quantized, Quantizer
from caselli.quantizer.several import parts
from caselli.shapes import Float, Num, Tensor


class MultiHead(Quantizer):
    r"""N heads of D/N neighbouring channels, all quantized by the same codebook.

    .. math:: \hat z = [\,q(z_{1 \dots D/N}),\; \dots,\; q(z_{D - D/N + 1 \dots D})\,]

    As `Grouped`, but one codebook is trained on all heads. Codes are `B Q *S`, head by head.

    Arguments:
        width: D, a multiple of `heads`.
        quantizer: the shared one's name in `QUANTIZERS`.
        options: its arguments.
        heads: N.

    Raises:
        UserError: for an unknown name or option, a width that does not divide, or a part without a codebook.

    Source: Mama et al. 2021, NWT: Towards Natural Audio-to-Video Generation with Representation Learning.

    Example:
        >>> import torch
        >>> MultiHead(width=8, heads=2).encode(torch.zeros(2, 8, 5)).shape
        torch.Size([2, 2, 5])
    """

    def __init__(
        self, width: int, *, quantizer: str = "vq", options: dict | None = None, heads: int = 2
    ) -> None:
        if heads < 1 or width % heads:
            raise UserError(
                f"width {width}, heads {heads} were given", "a width that is a multiple was expected"
            )
        (shared,) = parts(quantizer, width // heads, options, 1)
        super().__init__(width, shared.sizes * heads)
        self.heads, self.shared, self.digits = heads, shared, shared.digits

    def code_shape(self, space: tuple[int, ...]) -> tuple[int, ...]:
        return self.shared.code_shape(space)

    def forward(self, latents: Float[Tensor, "B D *S"]) -> Quantized:
        result = self.shared(self._apart(latents))
        return dataclasses.replace(
            result, latents=self._together(result.latents), codes=self._joined(result.codes)
        )

    def encode(self, latents: Float[Tensor, "B D *S"]) -> Num[Tensor, "B ..."]:
        return self._joined(self.shared.encode(self._apart(latents)))

    def decode(self, codes: Num[Tensor, "B ..."]) -> Float[Tensor, "B D ..."]:
        self.check_codes(codes)
        if len(self.sizes) > 1:
            codes = codes.unflatten(1, (self.heads, -1)).flatten(0, 1)
            codes = codes if len(self.shared.sizes) > 1 else codes[:, 0]
        return self._together(self.shared.decode(codes))

    def _apart(self, latents: Tensor) -> Tensor:
        """Heads on the batch axis."""
        self.check_latents(latents)
        return latents.unflatten(1, (self.heads, -1)).flatten(0, 1)

    def _together(self, latents: Tensor) -> Tensor:
        return latents.unflatten(0, (-1, self.heads)).flatten(1, 2)

    def _joined(self, codes: Tensor) -> Tensor:
        """`(B N) *S` or `(B N) Q *S` to `B (N Q) *S`, or `B *S` where there is one codebook."""
        if len(self.sizes) == 1:
            return codes
        codes = codes.unflatten(0, (-1, self.heads))
        return codes.flatten(1, 2) if len(self.shared.sizes) > 1 else codes
