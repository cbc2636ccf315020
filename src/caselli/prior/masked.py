"""A distribution over sequences of codes that are drawn in any order, many at a time."""

from __future__ import annotations

import torch
from torch import nn

from caselli.prior.config import Alphabet, PriorConfig
from caselli.prior.masked_rounds import MaskedRounds


class Masked(MaskedRounds):
    r"""A masked prior with a vector for each slot.

    Arguments:
        config: the architecture; see `MaskedOptions`.
        alphabet: slots, codebooks and conditions.

    Source: Chang et al. 2022, MaskGIT: Masked Generative Image Transformer.

    Example:
        >>> prior = Masked(PriorConfig(kind="masked", width=32, depth=1), Alphabet((8,), (0,) * 4))
        >>> prior.log_prob(torch.zeros(2, 4, dtype=torch.int64), None).shape
        torch.Size([2, 4])
    """

    kind = "masked"

    def __init__(self, config: PriorConfig, alphabet: Alphabet) -> None:
        super().__init__(config, alphabet, alphabet.length)
        self.mask = nn.Parameter(0.02 * torch.randn(config.width))

    def logits(self, sequence, masked, conditioned):
        prefix, positions, modulating = conditioned
        known = self.code(torch.where(masked, 0, sequence) + self.offset)
        x = torch.where(masked[..., None], self.mask, known) + positions
        y, _ = self.through(torch.cat((prefix, x), 1), modulating=modulating)
        return self.outputs(y[:, prefix.shape[1] :], slice(None))
