"""The probability of each picture under a trained run: bits per dimension, or a bound, named as such."""

from __future__ import annotations

import dataclasses

import torch

from caselli.data import Pictures
from caselli.ops import residual_bits
from caselli.shapes import Float, Tensor
from caselli.trained import Trained


@dataclasses.dataclass(frozen=True)
class Scores:
    """The pictures' scores, in the pictures' order."""

    names: tuple[str, ...]
    bits_per_dimension: Float[Tensor, "n"]
    kind: str
    """`density`: exact; `bound`: an upper bound of the bits."""
    words: str
    """The meaning of the number, in one sentence."""

    def oddest_first(self) -> list[tuple[str, float]]:
        """(name, bits per dimension), the most improbable picture first."""
        order = self.bits_per_dimension.argsort(descending=True, stable=True).tolist()
        return [(self.names[i], float(self.bits_per_dimension[i])) for i in order]


@torch.no_grad()
def score_pictures(model: Trained, pictures: Pictures, batch: int = 64) -> Scores:
    """Bits per dimension of every picture, given labels that the model knows.

    Where codes stand for the pictures, this is the sum of what the prior needs for the codes and a
    discretised logistic, of one scale for all pictures, for what the codes leave out: an upper bound.

    Errors: `UserError` for a run without a probability.
    """
    parts = [model.likelihood(pictures, indices) for indices in torch.arange(len(pictures)).split(batch)]
    bits = torch.cat([part.bits for part in parts]) / (model.channels * model.size**2)
    words = "bits per dimension" if model.density == "density" else "upper bound of bits per dimension"
    residuals = [part.residual for part in parts if part.residual is not None]
    if residuals:
        bits = bits + residual_bits(torch.cat(residuals)).float()
        words += ": codes under the prior, and what they leave out"
    if model.grey_levels != 256:
        words += f", {model.grey_levels} grey levels"
    return Scores(pictures.names, bits, model.density, words)
