"""A head that draws the bits of a code in a few rounds."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

from caselli.errors import UserError
from caselli.mixer.dense import Dense
from caselli.prior.config import Alphabet, PriorConfig
from caselli.prior.digits import BookBias, Digits, digit_embedding, levels_of
from caselli.prior.head import Head, cost, widened
from caselli.shapes import Bool, Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class MaskedBitsOptions:
    """Options of the head `masked_bits`."""

    rounds: int = 4
    """Rounds in which the bits of a code are drawn, those of one round independently."""

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise UserError(f"head option rounds {self.rounds} was given", "at least 1 was expected")


class MaskedBits(Head):
    r"""Masked bits: each bit, or level, of a code given those that are not masked.

    .. math::
        p(x \mid y) = \prod_r \prod_{j \in M_r} p\bigl(x_j \mid y, x_{M_1 \cup \dots \cup M_{r-1}}\bigr)

    Training masks a random share of each code's bits and lowers −log p of the masked ones, weighted to the
    bound of all orders. Drawing takes them in rounds whose bits M_r are fixed: round r of R has every R-th
    bit from r on. So the likelihood is exact, that of these rounds.

    Arguments:
        config: width and `MaskedBitsOptions`.
        alphabet: with levels.

    Errors: `UserError` for codes without bits.

    Source: Yu et al. 2026, Autoregressive Image Generation with Masked Bit Modeling; the fixed rounds are
    ours.

    Example:
        >>> alphabet = Alphabet((2**10,), (0,) * 4, levels=(2,) * 10)
        >>> MaskedBits(PriorConfig(width=16, head="masked_bits"), alphabet).sequence
        [0, 4, 8, 1, 5, 9, 2, 6, 3, 7]
    """

    embedding = staticmethod(digit_embedding)

    def __init__(self, config: PriorConfig, alphabet: Alphabet) -> None:
        super().__init__()
        options, levels = config.options_of_head(MaskedBitsOptions), levels_of(alphabet)
        self.digits, self.parts, self.features = Digits(levels), len(levels), config.width
        number = min(options.rounds, self.parts)
        self.rounds = [slice(first, None, number) for first in range(number)]
        self.sequence = [bit for own in self.rounds for bit in range(self.parts)[own]]
        before = torch.arange(self.parts) % number < torch.arange(number)[:, None]
        self.register_buffer("before", before, persistent=False)
        self.book = BookBias(alphabet, config.width)
        self.known = Dense(2 * self.parts, config.width)
        self.norm = nn.LayerNorm(config.width, bias=False)
        self.values = Dense(config.width, sum(levels))
        nn.init.normal_(self.values.weight, std=0.02)

    def outputs(self, y, slots):
        return self.book(widened(y), slots)

    def logits(
        self, outputs: Float[Tensor, "*A F"], digits: Int[Tensor, "*A D"], known: Bool[Tensor, "... D"]
    ) -> Float[Tensor, "*A D L"]:
        """Logits of all digits from those that are known, −∞ for levels that a digit does not have."""
        scaled = self.digits.scaled(digits, outputs) * known
        seen = torch.cat((scaled, known.to(outputs.dtype).expand(scaled.shape)), -1)
        h = self.norm(F.gelu(outputs + self.known(seen), approximate="tanh"))
        return self.digits.padded(widened(self.values(h)))

    def walk(self, outputs, slots):
        digits = torch.zeros(*outputs.shape[:-1], self.parts, dtype=torch.int64, device=outputs.device)
        first = 0
        for own, known in zip(self.rounds, self.before, strict=True):
            values = yield self.logits(outputs, digits, known)[..., own, :], first
            digits = digits.clone()
            digits[..., own] = values
            first += values.shape[-1]
        return self.digits.join(digits)

    def split(self, codes, slots):
        return self.digits.split(codes)[..., self.sequence]

    def log_prob(self, outputs, codes, slots):
        """log p of the codes in nats: exact, and in training an estimate of the bound by one mask."""
        if not self.training:
            return super().log_prob(outputs, codes, slots)
        digits = self.digits.split(codes)
        order = torch.rand(digits.shape, device=digits.device).argsort(-1)
        number = torch.randint(self.parts, digits.shape[:-1], device=digits.device)[..., None]
        known = order < number
        found = -cost(self.logits(outputs, digits, known), digits) * ~known
        return found.sum(-1) * (self.parts / (self.parts - number[..., 0]))
