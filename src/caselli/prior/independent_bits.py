"""A head of independent bits, whose prior learns to correct them."""

from __future__ import annotations

import dataclasses

import torch

from caselli.errors import UserError
from caselli.prior.config import Alphabet, PriorConfig
from caselli.prior.digits import BookBias, Digits, digit_embedding, levels_of
from caselli.prior.head import Head, widened


@dataclasses.dataclass(frozen=True)
class IndependentBitsOptions:
    """Options of the head `independent_bits`."""

    flips: float = 0.3
    """Largest share of the bits that the prior sees drawn anew in training; each sequence has a share between
    0 and this. 0 forgoes self-correction."""

    def __post_init__(self) -> None:
        if not 0 <= self.flips < 1:
            raise UserError(f"head option flips {self.flips} was given", "0 up to 1 was expected")


class IndependentBits(Head):
    r"""Independent bits, or levels, given the vector of the slot: as many small softmaxes side by side.

    .. math:: p(x \mid y) = \prod_j p(x_j \mid y)

    Bits that belong together are drawn apart, so that sampled codes have mistakes in them. Training therefore
    draws a share of the bits that the prior sees anew, and has it predict the true codes behind them
    (self-correction). The likelihood is exact.

    Arguments:
        config: `IndependentBitsOptions`.
        alphabet: with levels.

    Errors: `UserError` for codes without bits.

    Source: Han et al. 2024, Infinity: Scaling Bitwise AutoRegressive Modeling for High-Resolution Image
    Synthesis.

    Example:
        >>> alphabet = Alphabet((2**10,), (0,) * 4, levels=(2,) * 10)
        >>> IndependentBits(PriorConfig(head="independent_bits"), alphabet).features
        20
    """

    embedding = staticmethod(digit_embedding)

    def __init__(self, config: PriorConfig, alphabet: Alphabet) -> None:
        super().__init__()
        self.options, levels = config.options_of_head(IndependentBitsOptions), levels_of(alphabet)
        self.digits, self.parts, self.features = Digits(levels), len(levels), sum(levels)
        self.book = BookBias(alphabet, self.features)

    def outputs(self, y, slots):
        return self.book(widened(y), slots)

    def walk(self, outputs, slots):
        digits = yield self.digits.padded(outputs), 0
        return self.digits.join(digits)

    def split(self, codes, slots):
        return self.digits.split(codes)

    def noisy(self, seen):
        """A share of the digits drawn anew, of each sequence its own."""
        digits = self.digits.split(seen)
        share = self.options.flips * torch.rand(len(seen), 1, 1, device=seen.device)
        random = (torch.rand(digits.shape, device=seen.device) * self.digits.level).long()
        drawn = torch.rand(digits.shape, device=seen.device) < share
        return self.digits.join(torch.where(drawn, random, digits))
