"""Checkpoints of SEED-Voken's IBQ: the network of taming's VQModel around another quantizer."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from caselli.interop.layout import Converted, Hints
from caselli.interop.taming import Taming
from caselli.interop.vqgan import legacy
from caselli.tokenizer import TokenizerConfig
from caselli.weights import Weights

ENTROPY_WEIGHT = 0.05
"""Published weight of the entropies in its loss."""


class IBQTokenizer(Taming):
    """SEED-Voken's IBQ: the code with the largest product. Its names are taming's, so say --from ibq."""

    @classmethod
    def convert(cls, files: Sequence[Weights], hints: Hints) -> Converted[TokenizerConfig]:
        found = super().convert(files, hints)
        vectors = found.weights["quantizer.codebook.vectors"]
        weights = {n: w for n, w in found.weights.items() if n != "quantizer.codebook.vectors"}
        options = legacy(hints) | {"entropy_weight": ENTROPY_WEIGHT, "codebook_size": len(vectors)}
        config = dataclasses.replace(found.config, quantizer="ibq", quantizer_options=options)
        return Converted(config, weights | {"quantizer.codebook": vectors})
