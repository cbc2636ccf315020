"""The contract of every quantizer: latents ⟷ codes."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from caselli import ranks
from caselli.errors import UserError
from caselli.shapes import Bool, Float, Int, Num, Shaped, Tensor


@dataclasses.dataclass(frozen=True)
class Quantized:
    """Quantized latents with their codes, loss and metrics."""

    latents: Float[Tensor, "B D *S"]
    """Latents for the decoder, in the dtype that was given; gradients reach the encoder through it."""
    codes: Num[Tensor, "B ..."]
    """int64, `B *S`, or `B Q *S` with several codebooks."""
    loss: Float[Tensor, ""]
    """The quantizer's own terms, weighted; zero where there are none."""
    metrics: dict[str, Tensor]
    """Scalars worth a curve, detached."""


class Quantizer(nn.Module, ABC):
    """Latents `B D *S` (channel axis 1, any spatial axes) ⟷ codes `B *S`, or `B Q *S` with Q > 1 codebooks.

    Two exceptions say so themselves: `MultiScale` has maps of several sizes, on one flat axis `B T`;
    continuous bottlenecks have no codebook, `sizes == ()`, and their codes are float latents.

    A method extends this class, is final, and keeps its laws: `decode(encode(z))` equals the latents of the
    evaluation output; codes lie in range; every code decodes; half precision never decides a code; statistics
    are summed over ranks before they are used, in training mode alone.
    """

    def __init__(self, width: int, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.width = width
        """D, the latents' width."""
        self.sizes = sizes
        """The number of codes of each codebook."""
        self.digits: tuple[int, ...] = ()
        """Levels of the digits that a code of each codebook consists of, the most significant first, such as
        a two for each bit; empty where codes are mere numbers."""

    @classmethod
    def options_for(cls, side: int) -> dict[str, Any]:
        """Options that latents of `side` × `side` ask for, where the defaults do not fit them."""
        return {}

    def adjustable(self, remedy: str = "") -> list[nn.Module]:
        """Parts whose training `adjust(restart, entropy)` adjusts as it goes; with a remedy, restart or
        entropy, those that it changes."""
        every = [module for module in self.modules() if getattr(module, "remedies", ())]
        return [module for module in every if not remedy or remedy in module.remedies]

    @abstractmethod
    def forward(self, latents: Float[Tensor, "B D *S"]) -> Quantized:
        """Quantizes; in training mode with gradients, losses and updates of the codebook."""

    @abstractmethod
    def encode(self, latents: Float[Tensor, "B D *S"]) -> Num[Tensor, "B ..."]:
        """The codes alone: those that `forward` finds in evaluation mode."""

    @abstractmethod
    def decode(self, codes: Num[Tensor, "B ..."]) -> Float[Tensor, "B D ..."]:
        """The latents that the codes stand for."""

    def code_shape(self, space: tuple[int, ...]) -> tuple[int, ...]:
        """The codes' axes, without batch and codebooks, for latents of spatial axes `space`: the same."""
        return space

    places_are_own: ClassVar[bool] = True
    """True where a code is of one place of the picture; False where codes of several sizes add up to it."""

    def visible_codes(self, keep: Bool[Tensor, "H W"], space: tuple[int, ...]) -> Bool[Tensor, "*S"]:
        """True for codes that are known where a part of a picture is.

        Arguments:
            keep: True where a pixel is given.
            space: spatial axes of the latents.

        Errors: `UserError` for latents on one axis, which have no places.
        """
        if len(space) != 2:
            raise UserError(
                "a tokenizer whose codes lie on one axis was given",
                "to keep a part of a picture, codes with places are needed",
            )
        cell = keep.shape[0] // space[0], keep.shape[1] // space[1]
        return -F.max_pool2d(-keep[None].float(), cell)[0] > 0

    def code_limits(self, space: tuple[int, ...]) -> Int[Tensor, "*S"] | None:
        """Number of codes that each position may have, where some have fewer than their codebook; else None.

        Arguments:
            space: the codes' axes, see `code_shape`.
        """
        return None

    def check_latents(self, latents: Tensor) -> None:
        """Raises `UserError` unless the latents are `B D *S`."""
        if latents.dim() < 2 or latents.shape[1] != self.width:
            raise UserError(
                f"latents of shape {tuple(latents.shape)} were given to a {type(self).__name__}",
                f"B D *S with D = {self.width} on axis 1 was expected",
            )

    def check_codes(self, codes: Tensor) -> None:
        """Raises `UserError` unless the codes are int64, `B *S` or `B Q *S`, and in range."""
        several = len(self.sizes) > 1
        if (
            codes.dtype != torch.int64
            or codes.dim() < 1
            or (several and codes.shape[1:2] != (len(self.sizes),))
        ):
            shape = f"B {len(self.sizes)} *S" if several else "B *S"
            raise UserError(
                f"codes of shape {tuple(codes.shape)} and type {codes.dtype} were given",
                f"{shape} of torch.int64 was expected",
            )
        if torch.compiler.is_compiling() or not codes.numel():
            return
        limits = torch.tensor(self.sizes, device=codes.device)
        books = codes.movedim(1, -1) if several else codes[..., None]
        # asked so that yes is well: a plan knows no numbers, and takes every answer as yes
        if not ((books >= 0) & (books < limits)).all():
            raise UserError(
                f"codes from {int(codes.min())} to {int(codes.max())} were given",
                f"0 … {max(self.sizes) - 1} was expected",
                "take the codes from the same quantizer",
            )


def widened(tensor: Tensor) -> Tensor:
    """At least float32: half precision is widened, float64 stays.

    Example:
        >>> widened(torch.zeros(1, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def linear(layer: nn.Linear, x: Float[Tensor, "n I"]) -> Float[Tensor, "n O"]:
    """A layer in the precision of its input, whatever its own."""
    return nn.functional.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


def rows(latents: Shaped[Tensor, "B D *S"]) -> Shaped[Tensor, "n D"]:
    """Channel axis last, all others joined.

    Example:
        >>> rows(torch.zeros(2, 3, 4, 5)).shape
        torch.Size([40, 3])
    """
    return latents.movedim(1, -1).reshape(-1, latents.shape[1])


def unrows(flat: Shaped[Tensor, "n D"], batch: int, space: tuple[int, ...]) -> Shaped[Tensor, "B D *S"]:
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


def usage(codes: Int[Tensor, "..."], size: int, together: bool) -> dict[str, Tensor]:
    """Use of one codebook: `perplexity`, and `used`, the share of its codes that occur.

    Arguments:
        codes: any shape.
        size: K.
        together: true to count the codes of all ranks together (then every rank must call).
    """
    if size > 1 << 20:  # too many to keep a count of each
        counts = torch.unique(codes, return_counts=True)[1].float()
    else:
        counts = count(codes.flatten(), size)
        counts = ranks.total(counts) if together else counts
    return {"perplexity": perplexity(counts), "used": (counts > 0).sum() / size}


def count(codes: Int[Tensor, "n"], size: int) -> Float[Tensor, "K"]:
    """Number of occurrences of each code, without a transfer from the device."""
    return torch.zeros(size, device=codes.device).index_add_(
        0, codes, torch.ones((), device=codes.device).expand(len(codes))
    )
