"""The contract of every quantizer: latents ⟷ codes."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod

import torch
from torch import nn

from caselli.shapes import Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class Quantized:
    """What a quantizer returns, always."""

    latents: Float[Tensor, "B D *S"]
    """What the decoder gets; gradients reach the encoder through it."""
    codes: Int[Tensor, "B *S"]
    """int64; `B Q *S` with several codebooks."""
    loss: Float[Tensor, ""]
    """The quantizer's own terms, weighted; zero where there are none."""
    metrics: dict[str, Tensor]
    """Scalars worth a curve, detached."""


class Quantizer(nn.Module, ABC):
    """Latents `B D *S` (channel axis 1, any spatial axes) ⟷ codes `B *S`, or `B Q *S` with Q > 1 codebooks.

    A method extends this class, is final, and keeps its laws: `decode(encode(z))` equals the latents of the
    evaluation output; codes lie in range; every code decodes; half precision never decides a code.
    """

    def __init__(self, width: int, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.width = width
        """D, the latents' width."""
        self.sizes = sizes
        """The number of codes of each codebook."""

    @abstractmethod
    def forward(self, latents: Float[Tensor, "B D *S"]) -> Quantized:
        """Quantizes; in training mode with gradients, losses and updates of the codebook."""

    @abstractmethod
    def encode(self, latents: Float[Tensor, "B D *S"]) -> Int[Tensor, "B *S"]:
        """The codes alone."""

    @abstractmethod
    def decode(self, codes: Int[Tensor, "B *S"]) -> Float[Tensor, "B D *S"]:
        """The latents that the codes stand for."""


def rows(latents: Float[Tensor, "B D *S"]) -> Float[Tensor, "n D"]:
    """Channel axis last, all others joined.

    Example:
        >>> rows(torch.zeros(2, 3, 4, 5)).shape
        torch.Size([40, 3])
    """
    return latents.movedim(1, -1).reshape(-1, latents.shape[1])


def unrows(flat: Float[Tensor, "n D"], batch: int, space: tuple[int, ...]) -> Float[Tensor, "B D *S"]:
    """The inverse of `rows`."""
    return flat.view(batch, *space, flat.shape[1]).movedim(-1, 1)


def perplexity(counts: Float[Tensor, "K"]) -> Float[Tensor, ""]:
    """exp of the entropy of how often each code was used: K when all are used alike.

    Example:
        >>> perplexity(torch.tensor([2.0, 2.0, 0.0]))
        tensor(2.)
    """
    p = counts / counts.sum().clamp_min(1)
    return torch.exp(-torch.xlogy(p, p).sum())
