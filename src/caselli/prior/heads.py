"""The table of heads, and a head from a prior's configuration."""

from __future__ import annotations

from caselli.errors import lookup
from caselli.prior.bits import Bits
from caselli.prior.config import Alphabet, PriorConfig
from caselli.prior.head import Head, Softmax
from caselli.prior.independent_bits import IndependentBits
from caselli.prior.masked_bits import MaskedBits

HEADS: dict[str, type[Head]] = {
    "softmax": Softmax,
    "bits": Bits,
    "masked_bits": MaskedBits,
    "independent_bits": IndependentBits,
}
"""Name → distribution of a code."""


def build_head(config: PriorConfig, alphabet: Alphabet) -> Head:
    """The head that a configuration names.

    Errors: `UserError` for an unknown name or option, and for codes that it cannot serve.
    """
    return lookup(HEADS, "head", config.head)(config, alphabet)
