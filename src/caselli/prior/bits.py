"""A head over groups of bits, one group after another."""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import nn

from caselli.errors import UserError
from caselli.mixer.dense import Dense
from caselli.prior.config import Alphabet, PriorConfig
from caselli.prior.digits import BookBias, Digits, digit_embedding, in_groups, levels_of
from caselli.prior.head import Head, widened

MOST_GROUP_BITS = 12


@dataclasses.dataclass(frozen=True)
class BitsOptions:
    """Options of the head `bits`."""

    group_bits: int = 8
    """Bits that are drawn at once, by one softmax over their 2^bits values."""

    def __post_init__(self) -> None:
        if not 1 <= self.group_bits <= MOST_GROUP_BITS:
            raise UserError(
                f"head option group_bits {self.group_bits} was given", f"1 to {MOST_GROUP_BITS} were expected"
            )


class Bits(Head):
    r"""A small autoregressive network over groups of bits, or of a code's levels.

    .. math::
        p(x \mid y) = \prod_g \mathrm{softmax}\bigl(W_g\, N(\mathrm{GELU}(y + C_g s_{<g}))\bigr)_{x_g}

    with s the levels before group g on [−1, 1]. Weights and memory grow with log K: a code of 32 bits has
    four softmaxes over 256 values, as wide as one over 1024 codes.

    Arguments:
        config: width and `BitsOptions`.
        alphabet: with levels.

    Errors: `UserError` for codes without bits.

    Source: Yu et al. 2026, Autoregressive Image Generation with Masked Bit Modeling, for a head of bits in an
    autoregressive prior; the groups in place of masks are ours.

    Example:
        >>> alphabet = Alphabet((2**32,), (0,) * 4, levels=(2,) * 32)
        >>> head = Bits(PriorConfig(width=16, head="bits"), alphabet)
        >>> head.parts, sum(p.numel() for p in head.parameters())
        (4, 17232)
    """

    embedding = staticmethod(digit_embedding)

    def __init__(self, config: PriorConfig, alphabet: Alphabet) -> None:
        super().__init__()
        options = config.options_of_head(BitsOptions)
        levels = levels_of(alphabet)
        groups = in_groups(levels, 1 << options.group_bits)
        self.parts, self.features = len(groups), config.width
        self.groups = nn.ModuleList(Digits(group) for group in groups)
        sizes = [math.prod(group) for group in groups]
        self.whole = Digits(sizes)
        before = [sum(map(len, groups[:g])) for g in range(len(groups))]
        self.context = nn.ModuleList(Dense(1 + seen, config.width, bias=False) for seen in before)
        self.book = BookBias(alphabet, config.width)
        self.norm = nn.LayerNorm(config.width, bias=False)
        self.values = nn.ModuleList(Dense(config.width, size, bias=False) for size in sizes)
        for layer in self.values:
            nn.init.normal_(layer.weight, std=0.02)

    def outputs(self, y, slots):
        return self.book(widened(y), slots)

    def walk(self, outputs, slots):
        known, chosen = [outputs.new_ones(*outputs.shape[:-1], 1)], []
        for digits, context, values in zip(self.groups, self.context, self.values, strict=True):
            h = self.norm(F.gelu(outputs + context(torch.cat(known, -1)), approximate="tanh"))
            value = yield widened(values(h))[..., None, :], len(chosen)
            chosen.append(value)
            known.append(digits.scaled(digits.split(value[..., 0]), outputs))
        return self.whole.join(torch.cat(chosen, -1))

    def split(self, codes, slots):
        return self.whole.split(codes)
