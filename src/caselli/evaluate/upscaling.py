"""Measures of pictures drawn from smaller ones, beside plain enlargement and the tokenizer's own limit."""

from __future__ import annotations

import dataclasses

import torch

from caselli.data import Pictures, enlarged, to_bytes, to_float, with_size
from caselli.evaluate.frechet import Moments, frechet_distance
from caselli.evaluate.perceptual import Distance, multi_scale_distance, name_of
from caselli.evaluate.pictures import ms_ssim, psnr, slope
from caselli.features import FeatureNetwork, features_of
from caselli.model import Model
from caselli.sampling import AS_LEARNED, Engine, Sampling, sample
from caselli.shapes import Float, Tensor

BATCH = 64
"""Pictures at a time."""


@dataclasses.dataclass(frozen=True)
class Closeness:
    """Nearness of pictures to the originals, means over pictures."""

    psnr: float
    """In decibels."""
    ms_ssim: float
    """Multi-scale structural similarity."""
    perceptual: float
    """Perceptual distance."""
    sharpness: float
    """Mean slope over that of the originals: under 1 where they are blurred."""
    frechet: float
    """Fréchet distance between the two sets, by the features named."""
    agreement: float
    """PSNR of the pictures, made small, beside the small ones that were given."""


@dataclasses.dataclass(frozen=True)
class Upscaling:
    """Three ways from small pictures, or past them, to large ones."""

    pictures: int
    """Number of pictures."""
    factor: int
    """Number of times that the given pictures are smaller."""
    perceptual_distance: str
    features: str
    drawn: Closeness
    """By the prior, one drawing each."""
    enlarged: Closeness
    """Bicubic."""
    reconstructed: Closeness
    """The originals' own codes: no drawing can be expected to come nearer."""


@torch.no_grad()
def evaluate_upscaling(
    model: Model,
    pictures: Pictures,
    network: FeatureNetwork,
    options: Sampling = AS_LEARNED,
    distance: Distance = multi_scale_distance,
    engine: Engine | None = None,
) -> Upscaling:
    """Draws each picture from its smaller self and compares.

    Arguments:
        model: whose prior was told of smaller pictures.
        pictures: originals.
        network: gives the features.
        options: guidance, temperature and truncation.
        distance: the perceptual one.
        engine: as of `Model.sample`.

    Errors: `UserError` for a prior that was not told of smaller pictures.
    """
    pixels, side = pictures.read(torch.arange(len(pictures))), model.require_small_size()
    originals, small = to_float(pixels), to_float(with_size(pixels, side))
    shown = {
        "drawn": _drawn(model, pictures, options, engine or model.engine()[0]),
        "enlarged": enlarged(small, model.size // side),
        "reconstructed": torch.cat([model.decode(model.encode(x)).cpu() for x in originals.split(BATCH)]),
    }
    return Upscaling(
        pictures=len(pictures),
        factor=model.size // side,
        perceptual_distance=name_of(distance),
        features=network.features_name,
        **{name: _closeness(x, originals, small, network, distance) for name, x in shown.items()},
    )


def _drawn(model: Model, pictures: Pictures, options: Sampling, engine: Engine) -> Float[Tensor, "n C H W"]:
    """A drawing of each, told all that is known of the picture: the small one, and label and caption."""
    made = []
    for indices in torch.arange(len(pictures)).split(BATCH):
        codes = sample(engine, model.conditions_of(pictures, indices), indices.tolist(), options)
        made.append(model.decode(model.order.restore(codes, model.grid)).cpu())
    return torch.cat(made)


def _closeness(
    made: Float[Tensor, "n C H W"],
    originals: Float[Tensor, "n C H W"],
    small: Float[Tensor, "n C h w"],
    network: FeatureNetwork,
    distance: Distance,
) -> Closeness:
    moments = [Moments.of(features_of(network, x)) for x in (originals, made)]
    again = to_float(with_size(to_bytes(made), small.shape[-1]))
    return Closeness(
        psnr=psnr(made, originals).mean().item(),
        ms_ssim=ms_ssim(made, originals).mean().item(),
        perceptual=distance(made, originals).mean().item(),
        sharpness=(slope(made).sum() / slope(originals).sum()).item(),
        frechet=frechet_distance(*moments),
        agreement=psnr(again, small).mean().item(),
    )
