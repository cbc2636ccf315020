"""Uniform scalar quantization: every channel rounded to evenly spaced levels."""

from __future__ import annotations

import torch

from caselli.errors import UserError
from caselli.quantizer.base import Quantized, Quantizer, usage, widened
from caselli.shapes import Float, Int, Num, Tensor


class Uniform(Quantizer):
    r"""Each channel rounded to one of K levels within [−1, 1]: a codebook for every channel, none learned.

    .. math:: c = \mathrm{round}\big(\tfrac{z + 1}{2} (K - 1)\big), \qquad \hat z = \tfrac{2 c}{K - 1} - 1

    With K = 256 it keeps every 8-bit picture as it is. Latents beyond [−1, 1] take the outermost levels; the
    gradient passes straight through.

    Arguments:
        width: D, the latents' width.
        levels: K.

    Example:
        >>> Uniform(width=1, levels=3).encode(torch.tensor([[-1.0], [0.2], [5.0]])).tolist()
        [0, 1, 2]
    """

    def __init__(self, width: int, *, levels: int = 256) -> None:
        if levels < 2:
            raise UserError(f"levels {levels} was given", "at least 2 were expected")
        super().__init__(width, (levels,) * width)
        self.register_buffer("top", torch.tensor(levels - 1.0))  # stored: a fingerprint tells levels apart

    def forward(self, latents: Float[Tensor, "B D *S"]) -> Quantized:
        codes = self.encode(latents)
        rounded = self.decode(codes).to(latents.dtype)
        if self.training:
            rounded = latents + (rounded - latents).detach()
        metrics = usage(codes, self.sizes[0], together=self.training)
        return Quantized(rounded, codes, widened(latents.new_zeros(())), metrics)

    def encode(self, latents: Float[Tensor, "B D *S"]) -> Int[Tensor, "B ..."]:
        self.check_latents(latents)
        scaled = (widened(latents.detach()) + 1) / 2 * widened(self.top)
        codes = scaled.round().long().clamp(0, self.sizes[0] - 1)
        return codes[:, 0] if self.width == 1 else codes

    def decode(self, codes: Num[Tensor, "B ..."]) -> Float[Tensor, "B D ..."]:
        self.check_codes(codes)
        channels = codes[:, None] if self.width == 1 else codes
        top = widened(self.top)
        return 2 * channels.to(top.dtype) / top - 1
