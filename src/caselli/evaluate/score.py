"""How probable a trained run finds each picture: bits per dimension, or a bound, named as such."""

from __future__ import annotations

import dataclasses

import torch

from caselli.data import Pictures, to_float
from caselli.errors import UserError
from caselli.evaluate.family import bits_of
from caselli.family import FamilyModel
from caselli.model import Model
from caselli.ops import residual_bits
from caselli.shapes import Float, Tensor


@dataclasses.dataclass(frozen=True)
class Scores:
    """The pictures' scores, in the pictures' order."""

    names: tuple[str, ...]
    bits_per_dimension: Float[Tensor, "n"]
    kind: str
    """`density`: exact; `bound`: an upper bound of the bits."""
    words: str
    """What the number is, in one sentence."""

    def oddest_first(self) -> list[tuple[str, float]]:
        """(name, bits per dimension), the most improbable picture first."""
        order = self.bits_per_dimension.argsort(descending=True, stable=True).tolist()
        return [(self.names[i], float(self.bits_per_dimension[i])) for i in order]


def score_pictures(model: Model | FamilyModel, pictures: Pictures, batch: int = 64) -> Scores:
    """Bits per dimension of every picture, labels given where the model knows them.

    Of a run with two stages, the sum of what the prior needs for the codes and a discretised logistic, of one
    scale for all pictures, for what the codes leave out: an upper bound.

    Errors: `UserError` for a model without a probability.
    """
    if isinstance(model, Model):
        bits = _two_stages(model, pictures, batch)
        words = "upper bound of bits per dimension: codes under the prior, and what they leave out"
        return Scores(pictures.names, bits, "bound", words)
    found = bits_of(model, pictures, batch)
    if found is None:
        raise UserError(
            f"family {model.name} has samples and no probability",
            "a run that can score was expected",
            "train recipe vae (a bound), pixels or mixture, or a tokenizer and a prior",
        )
    kind, levels = model.family.density, model.family.levels()
    words = "bits per dimension" if kind == "density" else "upper bound of bits per dimension"
    return Scores(pictures.names, found, kind, words + ("" if levels == 256 else f", {levels} grey levels"))


@torch.no_grad()
def _two_stages(model: Model, pictures: Pictures, batch: int) -> Tensor:
    codes, residuals = [], []
    for indices in torch.arange(len(pictures)).split(batch):
        x = to_float(pictures.read(indices)).to(model.device)
        y = model.decode(model.encode(x))
        codes.append(model.score_told(x, model.conditions_of(pictures, indices)).prior_bits.cpu())
        residuals.append((x - y).flatten(1).cpu())
    residual = torch.cat(residuals)
    return torch.cat(codes) / residual.shape[1] + residual_bits(residual).float()
