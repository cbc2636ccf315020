"""No quantization: the continuous bottleneck with nothing in it."""

from __future__ import annotations

from caselli.quantizer.base import Quantized, Quantizer, widened
from caselli.shapes import Float, Num, Tensor


class Identity(Quantizer):
    """Latents pass as they are: what a tokenizer can do at best, and a stand-in for tests.

    Continuous: it has no codebook, `sizes` is empty, and its "codes" are the float latents themselves. A
    prior over whole numbers cannot learn them.

    Arguments:
        width: D, the latents' width.

    Example:
        >>> import torch
        >>> Identity(width=2).encode(torch.ones(1, 2, 3)).shape
        torch.Size([1, 2, 3])
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, ())

    def forward(self, latents: Float[Tensor, "B D *S"]) -> Quantized:
        self.check_latents(latents)
        return Quantized(latents, latents.detach(), widened(latents.new_zeros(())), {})

    def encode(self, latents: Float[Tensor, "B D *S"]) -> Num[Tensor, "B ..."]:
        self.check_latents(latents)
        return latents.detach()

    def decode(self, codes: Num[Tensor, "B ..."]) -> Float[Tensor, "B D ..."]:
        return codes
