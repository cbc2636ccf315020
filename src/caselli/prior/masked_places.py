"""A masked prior with one vector a place, whatever the number of codebooks."""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from caselli.mixer.dense import Dense
from caselli.prior.conditions import Conditions
from caselli.prior.config import Alphabet, PriorConfig
from caselli.prior.digits import Digits, levels_of
from caselli.prior.masked_rounds import MaskedOptions, MaskedRounds
from caselli.prior.parallel import step_of_slots
from caselli.shapes import Bool, Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class MaskedPlacesOptions(MaskedOptions):
    """Options of a masked prior of places."""

    bits: bool = False
    """True for vectors that are a linear map of a place's bits, zero where masked, without a table."""
    place_bias: bool = False
    """True for a bias of the logits at each place."""


class MaskedPlaces(MaskedRounds):
    r"""A masked prior whose codes of one place share a vector, each masked for itself.

    .. math:: x_n = p_n + \sum_q e_q(c_{nq}) \quad\text{or}\quad x_n = p_n + b + \sum_q W_q\, s(c_{nq}),

    with s the bits as ±1, and zeros for a code that is masked: a code of 14 bits as two of 7 has 256 logits
    in the place of 16,384, and no table of codes at all.

    Arguments:
        config: the architecture; see `MaskedPlacesOptions`.
        alphabet: slots, codebooks and conditions.

    Errors: `UserError` for `bits` of codes that have none.

    Source: Weber et al. 2024, MaskBit: Embedding-free Image Generation via Bit Tokens.

    Example:
        >>> config = PriorConfig(kind="masked_places", width=32, depth=1)
        >>> prior = MaskedPlaces(config, Alphabet((8, 8), (0, 1) * 3))
        >>> prior.log_prob(torch.zeros(2, 6, dtype=torch.int64), None).shape
        torch.Size([2, 6])
    """

    kind = "masked_places"
    options_kind = MaskedPlacesOptions
    embeds_codes = False

    def __init__(self, config: PriorConfig, alphabet: Alphabet) -> None:
        place = step_of_slots(alphabet, delay=0)
        super().__init__(config, alphabet, 1 + max(place))
        slots = torch.empty(1 + max(place), len(alphabet.sizes), dtype=torch.int64)
        slots[torch.tensor(place), torch.tensor(alphabet.codebooks)] = torch.arange(alphabet.length)
        self.register_buffer("slots", slots, persistent=False)
        self.register_buffer("place", torch.tensor(place), persistent=False)
        if self.options.bits:
            self.cells = BitCells(alphabet, config.width)
        else:
            self.cells = TableCells(self.code_head.embedding(alphabet, config.width), self.offset[slots[0]])
        features = self.code_head.features
        self.bias = nn.Parameter(torch.zeros(len(slots), features)) if self.options.place_bias else None

    def positions(self, condition, batch):
        """Position embeddings of the places, with those of the other picture's codes there."""
        there = self.conditioner.at_places(Conditions.of(condition), batch)
        if there is None:
            return self.position.weight[None]
        return self.position.weight + there[:, self.slots[:, 0]]

    def logits(self, sequence, masked, conditioned):
        prefix, positions, modulating = conditioned
        masked = masked.expand(sequence.shape)[:, self.slots]
        x = self.cells(sequence[:, self.slots], masked) + positions
        y, _ = self.through(torch.cat((prefix, x), 1), modulating=modulating)
        outputs = self.head(self.norm(y[:, prefix.shape[1] :]))
        if self.bias is not None:
            outputs = outputs + self.bias
        return self.code_head.outputs(outputs[:, self.place], slice(None))


class TableCells(nn.Module):
    """The sum of the vectors of a place's codes, each from a table; a masked code has a vector of its own.

    Example:
        >>> cells = TableCells(nn.Embedding(5, 4), torch.tensor([0, 2]))
        >>> codes = torch.tensor([[[1, 2]]])
        >>> cells(codes, codes > 1).shape
        torch.Size([1, 1, 4])
    """

    def __init__(self, code: nn.Module, offset: Int[Tensor, "K"]) -> None:
        super().__init__()
        self.code = code
        nn.init.normal_(code.weight, std=0.02)
        self.mask = nn.Parameter(0.02 * torch.randn(len(offset), code.weight.shape[-1]))
        self.register_buffer("offset", offset.clone(), persistent=False)

    def forward(self, codes: Int[Tensor, "B N Q"], masked: Bool[Tensor, "B N Q"]) -> Float[Tensor, "B N E"]:
        known = self.code(torch.where(masked, 0, codes) + self.offset)
        return torch.where(masked[..., None], self.mask, known).sum(2)


class BitCells(nn.Module):
    """A linear map of the bits of a place's codes as ±1, zeros where a code is masked.

    Example:
        >>> cells = BitCells(Alphabet((8, 8), (0, 1), levels=(2, 2, 2)), 4)
        >>> codes = torch.tensor([[[1, 7]]])
        >>> cells(codes, codes > 1).shape, cells.project.in_features
        (torch.Size([1, 1, 4]), 6)
    """

    def __init__(self, alphabet: Alphabet, width: int) -> None:
        super().__init__()
        levels = levels_of(alphabet)
        self.digits = Digits(levels)
        self.project = Dense(len(levels) * len(alphabet.sizes), width)

    def forward(self, codes: Int[Tensor, "B N Q"], masked: Bool[Tensor, "B N Q"]) -> Float[Tensor, "B N E"]:
        seen = self.digits.split(torch.where(masked, 0, codes))
        scaled = self.digits.scaled(seen, self.project.weight) * ~masked[..., None]
        return self.project(scaled.flatten(2))
