"""Measures of a trained model on pictures that it has not seen."""

from __future__ import annotations

import dataclasses
import math

import torch

from caselli.data import Pictures
from caselli.evaluate.codes import CodebookUse
from caselli.evaluate.perceptual import Distance, multi_scale_distance, name_of
from caselli.evaluate.pictures import ms_ssim, psnr, ssim
from caselli.evaluate.reconstruction import reconstructions
from caselli.evaluate.shares import joined, own_part
from caselli.figures import figure
from caselli.model import Model
from caselli.ops import counted_bits, residual_counts
from caselli.shapes import Tensor


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Means over held-out pictures; None where a run has no prior, or no codebook."""

    pictures: int = figure("held-out pictures measured", ",.0f")
    """Number of pictures that were looked at."""
    psnr: float = figure("PSNR", ".2f", "dB", section="Training", key=True)
    """Peak signal-to-noise ratio of the reconstructions, mean of the pictures' decibels."""
    ssim: float = figure("SSIM", ".3f", section="Training", key=True)
    """Structural similarity of the reconstructions."""
    ms_ssim: float = figure("MS-SSIM", ".3f")
    """Multi-scale structural similarity of the reconstructions."""
    perceptual: float = figure("perceptual distance", ".3f", section="Training")
    """Perceptual distance of the reconstructions."""
    perceptual_distance: str
    """The distance: LPIPS, or one that needs no weights."""
    codebook_use: float | None = figure("codebook use", ".1%", section="Codebook", key=True)
    """Share of the codes that occur, mean over codebooks."""
    code_counts: list[list[int]]
    """Number of times that each code of each codebook occurred."""
    perplexity: float | None = figure("perplexity of the codes", ",.0f", section="Codebook")
    """exp of the entropy of the codes' use, mean over codebooks."""
    perplexities: list[float]
    """exp of the entropy of each codebook's use."""
    codes_per_picture: int = figure("codes per picture", ",.0f", section="Bits")
    """Codes of a picture."""
    bits_per_picture: float | None = figure("bits per picture", ",.0f", "bits", section="Bits", key=True)
    """Bits of a picture's codes without a prior: Σ log₂ K."""
    entropy_bits_per_picture: float | None = figure(
        "bits per picture, from the frequency of each code", ",.0f", "bits", section="Bits"
    )
    """Bits of a picture's codes when only the frequency of each code is known."""
    prior_bits_per_picture: float | None = figure(
        "bits per picture under the prior", ",.1f", "bits", section="Bits", key=True
    )
    """−log₂ p(codes | label) under the prior."""
    prior_bits_exact: bool | None
    """True where these are the bits; false for an upper bound, as of a masked prior."""
    prior_bits_per_dimension: float | None = figure(
        "bits per dimension, codes under the prior", ".3f", "bits", section="Bits"
    )
    """Bits of the codes under the prior, over the picture's numbers."""
    residual_bits_per_dimension: float = figure(
        "bits per dimension, what codes leave out", ".3f", "bits", section="Bits"
    )
    """−log₂ p(picture | codes): the residual under a discretised logistic around the reconstruction."""
    bits_per_dimension: float | None = figure(
        "bits per dimension, exact pictures", ".3f", "bits", section="Bits", key=True
    )
    """Prior and residual together: an upper bound on what the two stages need for the exact picture."""


@torch.no_grad()
def evaluate_model(
    model: Model, pictures: Pictures, batch: int = 128, distance: Distance = multi_scale_distance
) -> Evaluation:
    """Reconstruction, codebook use and likelihood of `pictures`, told their labels and captions where there
    are any.

    Each of several ranks measures a part of the pictures; all have to call it, or one within `ranks.alone`.

    Arguments:
        model: with or without a prior; the tokenizer may be a continuous one.
        pictures: which are read batch by batch.
        batch: how many at a time.
        distance: the perceptual one.
    """
    use = CodebookUse(model.tokenizer.quantizer.sizes)
    measures = {"psnr": psnr, "ssim": ssim, "ms_ssim": ms_ssim, "perceptual": distance}
    values: dict[str, list[Tensor]] = {name: [] for name in measures}
    bits, residuals = [], []
    _, own = own_part(pictures)
    for indices, x, codes, y in reconstructions(model, own, batch):
        use.add(codes)
        for name, measure in measures.items():
            values[name].append(measure(y, x))
        residuals.append(residual_counts((y - x).cpu().flatten(1)))
        if model.prior is not None:
            told = model.conditions_of(own, indices)
            sequence = model.order.flatten(codes, model.grid)
            bits.append(-model.prior.log_prob(sequence, told).sum(1) / math.log(2))
    use.join()
    usages = use.usages()
    dimensions = int(residuals[0][0].sum())
    residual = counted_bits(joined(residuals)).mean().item()
    prior = joined(bits).mean().item() if bits else None
    described = model.tokenizer.report((model.size, model.size))
    return Evaluation(
        pictures=len(pictures),
        **{name: joined(parts).mean().item() for name, parts in values.items()},
        perceptual_distance=name_of(distance),
        codebook_use=sum(u.use for u in usages) / len(usages) if usages else None,
        code_counts=[counts.tolist() for counts in use.counts()],
        perplexity=sum(u.perplexity for u in usages) / len(usages) if usages else None,
        perplexities=[u.perplexity for u in usages],
        codes_per_picture=model.grid.length if usages else 0,
        bits_per_picture=described.bits if usages else None,
        entropy_bits_per_picture=math.prod(described.grid) * use.together().entropy_bits if usages else None,
        prior_bits_per_picture=prior,
        prior_bits_exact=None if model.prior is None else model.prior.exact,
        prior_bits_per_dimension=None if prior is None else prior / dimensions,
        residual_bits_per_dimension=residual,
        bits_per_dimension=None if prior is None else prior / dimensions + residual,
    )
