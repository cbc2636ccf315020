"""A prior of any kind, from its configuration."""

from __future__ import annotations

from caselli.errors import lookup
from caselli.prior.autoregressive import Autoregressive
from caselli.prior.base import Prior
from caselli.prior.config import Alphabet, PriorConfig
from caselli.prior.masked import Masked
from caselli.prior.masked_places import MaskedPlaces
from caselli.prior.next_scale import NextScale
from caselli.prior.parallel import ParallelHeads
from caselli.prior.parallel_order import ParallelOrder
from caselli.prior.pixel_cnn import PixelCNN
from caselli.prior.random_order import RandomOrder
from caselli.quantizer import Quantizer

PRIORS: dict[str, type[Prior]] = {
    "autoregressive": Autoregressive,
    "masked": Masked,
    "masked_places": MaskedPlaces,
    "random_order": RandomOrder,
    "parallel_order": ParallelOrder,
    "next_scale": NextScale,
    "parallel": ParallelHeads,
    "pixel_cnn": PixelCNN,
}


def build(config: PriorConfig, alphabet: Alphabet, quantizer: Quantizer | None = None) -> Prior:
    """The prior that a configuration describes, untrained.

    Arguments:
        config: kind and architecture.
        alphabet: slots, codebooks and conditions.
        quantizer: the one that made the codes, for the kinds that need it.

    Errors: `UserError` for an unknown kind or option.

    Example:
        >>> build(PriorConfig(kind="masked", width=32, depth=1), Alphabet((8,), (0,) * 4)).exact
        False
    """
    kind = lookup(PRIORS, "prior kind", config.kind)
    return kind(config, alphabet, quantizer) if kind.needs_quantizer else kind(config, alphabet)
