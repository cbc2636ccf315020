"""Several tokenizers on the same pictures, one row of figures each."""

from __future__ import annotations

import dataclasses

import torch

from caselli.data import Pictures
from caselli.evaluate.pictures import psnr, ssim
from caselli.evaluate.reconstruction import reconstruction_distances, reconstructions
from caselli.features import FeatureNetwork
from caselli.model import Model
from caselli.shapes import Float, Tensor


@dataclasses.dataclass(frozen=True)
class TokenizerFigures:
    """What one tokenizer makes of a set of pictures."""

    psnr: float
    """In decibels, the mean over pictures."""
    ssim: float
    """Structural similarity, the mean over pictures."""
    sharpness: float
    """Mean slope of the reconstructions over that of the originals: under 1 where they are blurred."""
    frechet: float
    """Fréchet distance between originals and reconstructions, by the features named."""
    kernel: float
    """Kernel distance, by the same."""
    codebook_use: float
    """Share of the codes that occur."""
    bits: float
    """Of a picture's codes."""
    features: str
    """The network that gave the features."""
    reference: str
    """The pictures."""
    count: int
    """How many."""


def tokenizer_figures(
    model: Model, pictures: Pictures, network: FeatureNetwork, reference: str
) -> TokenizerFigures:
    """Measures one tokenizer; figures compare only at equal pictures and features.

    Arguments:
        model: its tokenizer is judged.
        pictures: originals.
        network: gives the features.
        reference: what the originals are, such as "emoji64, held out".
    """
    sums, used = torch.zeros(4, dtype=torch.float64), []
    for _, x, codes, y in reconstructions(model, pictures):
        parts = (psnr(y, x).sum(), ssim(y, x).sum(), slope(y).sum(), slope(x).sum())
        sums += torch.stack([part.double().cpu() for part in parts])
        used.append(codes.unique().cpu())
    distances = reconstruction_distances(model, pictures, network, reference)
    sizes = model.tokenizer.quantizer.sizes
    return TokenizerFigures(
        psnr=sums[0].item() / len(pictures),
        ssim=sums[1].item() / len(pictures),
        sharpness=(sums[2] / sums[3]).item(),
        frechet=distances.frechet,
        kernel=distances.kernel,
        codebook_use=len(torch.cat(used).unique()) / max(sizes) if sizes else 0.0,
        bits=model.tokenizer.report((model.size, model.size)).bits,
        features=network.features_name,
        reference=reference,
        count=len(pictures),
    )


def slope(pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B"]:
    """Mean absolute difference of neighbouring pixels, of each picture.

    Example:
        >>> slope(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]]))
        tensor([0.5000])
    """
    return (pictures.diff(dim=2).abs().mean((1, 2, 3)) + pictures.diff(dim=3).abs().mean((1, 2, 3))) / 2
