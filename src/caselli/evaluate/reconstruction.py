"""Pictures beside what a tokenizer makes of them: one by one, and as two sets."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from caselli.data import Pictures, to_float
from caselli.evaluate.set_comparison import SetComparison, compare_sets
from caselli.evaluate.shares import own_part
from caselli.features import FeatureNetwork, features_of
from caselli.model import Model
from caselli.shapes import Tensor


@torch.no_grad()
def reconstructions(
    model: Model, pictures: Pictures, batch: int = 128
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Indices, originals, codes and reconstructions, batch by batch, on the model's device."""
    for indices in torch.arange(len(pictures)).split(batch):
        x = to_float(pictures.read(indices)).to(model.device)
        codes = model.encode(x)
        yield indices, x, codes, model.decode(codes)


def reconstruction_distances(
    model: Model, pictures: Pictures, network: FeatureNetwork, reference: str, batch: int = 128
) -> SetComparison:
    """Distance of the set of reconstructions from the set of its originals: with Inception's features this is
    rFID, and rKID. Each of several ranks reconstructs a part of the pictures.

    The reference is the very pictures that were reconstructed. Figures against the statistics of a training
    set, which some publications give, are higher and cannot be compared.

    Arguments:
        model: its tokenizer is judged.
        pictures: originals.
        network: gives the features; moved to the model's device.
        reference: what the originals are, such as "emoji64, held out".
        batch: pictures at a time.
    """
    network.to(model.device)
    real, made = [], []
    for _, x, _, y in reconstructions(model, own_part(pictures)[1], batch):
        real.append(features_of(network, x))
        made.append(features_of(network, y))
    return compare_sets(torch.cat(real), torch.cat(made), features=network.features_name, reference=reference)
