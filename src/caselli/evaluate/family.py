"""Measures of a trained one-stage family on pictures that it has not seen: its three uses."""

from __future__ import annotations

import dataclasses

import torch

from caselli.data import Pictures, spread, to_float
from caselli.errors import UserError
from caselli.evaluate.pictures import psnr
from caselli.evaluate.shares import joined, own_part
from caselli.family import FamilyModel
from caselli.features import linear_probe
from caselli.figures import figure
from caselli.shapes import Float, Tensor

PROBED = 5000
"""Training pictures that a linear probe is fitted on, at most."""
SCORED = 512
"""Held-out pictures whose probability is found, at most."""


@dataclasses.dataclass(frozen=True)
class FamilyEvaluation:
    """Means over held-out pictures; None where the family has no such use."""

    pictures: int = figure("held-out pictures measured", ",.0f")
    """Number of pictures that were looked at."""
    bits_per_dimension: float | None = figure("bits per dimension", ".3f", "bits", section="Bits", key=True)
    """−log₂ p per number of a picture, exact."""
    bits_per_dimension_bound: float | None = figure(
        "upper bound of bits per dimension", ".3f", "bits", section="Bits", key=True
    )
    """An upper bound of it, where the exact value is not known."""
    grey_levels: int | None
    """Grey levels of the pictures that the bits are counted for."""
    psnr: float | None
    """PSNR of reconstructions from the posterior's mean."""
    probe_accuracy: float | None = figure("labels read by a linear probe", ".1%", key=True)
    """Share of pictures whose label a linear layer reads from the representation."""


@torch.no_grad()
def evaluate_family(
    model: FamilyModel, pictures: Pictures, held_out: Pictures, batch: int = 64
) -> FamilyEvaluation:
    """Likelihood, reconstruction and representation; each of several ranks measures a part of the pictures.

    Arguments:
        model: the family.
        pictures: labelled training pictures for the probe.
        held_out: what the figures are measured on.
        batch: pictures at a time.
    """
    scored = held_out.subset(spread(len(held_out), SCORED))
    mean = _bits_per_dimension(model, scored, batch)
    exact = model.density == "density"
    return FamilyEvaluation(
        pictures=len(held_out),
        bits_per_dimension=mean if exact else None,
        bits_per_dimension_bound=None if exact else mean,
        grey_levels=model.grey_levels if model.density else None,
        psnr=_reconstruction(model, held_out, batch),
        probe_accuracy=probe_accuracy(model.encode, pictures, held_out),
    )


def _bits_per_dimension(model: FamilyModel, pictures: Pictures, batch: int) -> float | None:
    if not model.density:
        return None
    _, own = own_part(pictures)
    parts = [model.likelihood(own, i).bits for i in torch.arange(len(own)).split(batch)]
    return joined(parts).mean().item() / model.family.config.dimensions


def probe_accuracy(encode, pictures: Pictures, held_out: Pictures, batch: int = 256) -> float | None:
    """A linear probe's accuracy on the held-out pictures; None without labels or without a representation.

    Arguments:
        encode: pictures `B C H W` → `B F`.
        pictures, held_out: what the probe is fitted on, and judged on.
        batch: pictures at a time.
    """
    if pictures.labels is None or held_out.labels is None:
        return None
    chosen = spread(len(pictures), PROBED)
    try:
        sides = [_encoded(encode, part, batch) for part in (pictures.subset(chosen), held_out)]
    except UserError:  # no representation
        return None
    return linear_probe(sides[0], pictures.labels[chosen], sides[1], held_out.labels)


def _encoded(encode, pictures: Pictures, batch: int) -> Float[Tensor, "n F"]:
    parts = torch.arange(len(pictures)).split(batch)
    return torch.cat([encode(to_float(pictures.read(i))).flatten(1).float().cpu() for i in parts])


def _reconstruction(model: FamilyModel, pictures: Pictures, batch: int) -> float | None:
    found, (_, own) = [], own_part(pictures)
    for indices in torch.arange(len(own)).split(batch):
        x = to_float(own.read(indices))
        try:
            found.append(psnr(model.reconstruct(x).cpu(), x))
        except UserError:  # nothing to reconstruct from
            return None
    return joined(found).mean().item()
