"""Pictures beside what a tokenizer makes of them: one by one, and as two sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from caselli import ranks
from caselli.data import Pictures, to_float
from caselli.evaluate.set_comparison import SetComparison, compare_sets
from caselli.evaluate.shares import own_part
from caselli.features import FeatureNetwork, features_of
from caselli.model import Model
from caselli.shapes import Float, Tensor

EXCHANGED = 0.2
"""Share of the codes that are exchanged."""


@torch.no_grad()
def reconstructions(
    model: Model, pictures: Pictures, batch: int = 128
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Indices, originals, codes and reconstructions, batch by batch, on the model's device."""
    for indices, x, codes in _coded(model, pictures, batch):
        yield indices, x, codes, model.decode(codes)


@torch.no_grad()
def _coded(model: Model, pictures: Pictures, batch: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Indices, originals and codes."""
    for indices in torch.arange(len(pictures)).split(batch):
        x = to_float(pictures.read(indices)).to(model.device)
        yield indices, x, model.encode(x)


@torch.no_grad()
def original_features(pictures: Pictures, network: FeatureNetwork, batch: int = 128) -> Float[Tensor, "n F"]:
    """Features of originals, which distances compare with; each of several ranks has those of its part."""
    own = own_part(pictures)[1]
    parts = torch.arange(len(own)).split(batch)
    return torch.cat([features_of(network, to_float(own.read(part))) for part in parts])


def reconstruction_distances(
    model: Model,
    pictures: Pictures,
    network: FeatureNetwork,
    real: Float[Tensor, "n F"],
    reference: str,
    batch: int = 128,
) -> SetComparison:
    """Distance of the set of reconstructions from the set of its originals: with Inception's features this is
    rFID, and rKID. Each of several ranks reconstructs a part of the pictures.

    The reference is the very pictures that were reconstructed. Figures against the statistics of a training
    set, which some publications give, are higher and cannot be compared.

    Arguments:
        model: its tokenizer is judged.
        pictures: originals.
        network: gives the features.
        real: those of the originals, by `original_features`.
        reference: what the originals are, such as "emoji64, held out".
        batch: pictures at a time.
    """
    parts = reconstructions(model, own_part(pictures)[1], batch)
    return _compared(network, real, (y for _, _, _, y in parts), reference)


def exchanged_distances(
    model: Model,
    pictures: Pictures,
    network: FeatureNetwork,
    real: Float[Tensor, "n F"],
    reference: str,
    share: float = EXCHANGED,
    seed: int = 0,
    batch: int = 128,
) -> SetComparison:
    """Distance of the pictures of partly exchanged codes from the originals: how much a decoder minds a
    prior's mistakes. It foretells the samples' distance better than `reconstruction_distances` does; with
    Inception's features it is a pFID.

    Arguments:
        model: its tokenizer, with a codebook, is judged.
        pictures: originals.
        network: gives the features.
        real: those of the originals, by `original_features`.
        reference: what the originals are.
        share: of the codes, 0 to 1, that are exchanged for similar ones of other places of the batch.
        seed: of the exchange.
        batch: pictures at a time.

    Source: after Qiu et al. 2025, Robust Latent Matters: Boosting Image Generation with Sampling Error
    Synthesis.
    """
    generator = torch.Generator(model.device).manual_seed(seed)
    coded = _coded(model, pictures, batch)
    made = (model.tokenizer.decode_exchanged(codes, share, generator) for _, _, codes in coded)
    real = ranks.join(real)
    with ranks.alone():  # the exchange goes from batch to batch: each rank measures the whole set
        return _compared(network, real, made, reference)


@torch.no_grad()
def _compared(
    network: FeatureNetwork, real: Tensor, pictures: Iterable[Tensor], reference: str
) -> SetComparison:
    made = torch.cat([features_of(network, part) for part in pictures])
    return compare_sets(real, made, features=network.features_name, reference=reference)
