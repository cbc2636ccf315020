"""The contract of networks that turn pictures into features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import nn

from caselli.errors import UserError
from caselli.shapes import Float, Tensor


class FeatureNetwork(nn.Module, ABC):
    """A network from pictures in [-1, 1] to one row of features each.

    Figures depend on the network, so they name it.
    """

    features_name: str
    """Name of the features in reports."""

    @abstractmethod
    def features(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F"]:
        """The features of one batch."""

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device


def coloured(pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 3 H W"]:
    """Grey pictures with their channel repeated; colour ones as they are."""
    if pictures.ndim != 4 or pictures.shape[1] not in (1, 3):
        raise UserError(
            f"pictures of shape {tuple(pictures.shape)} were given", "B C H W with C = 1 or 3 was expected"
        )
    return pictures.expand(-1, 3, -1, -1)


@torch.no_grad()
def features_of(
    network: FeatureNetwork, pictures: Float[Tensor, "n C H W"], batch: int = 256
) -> Float[Tensor, "n F"]:
    """The features of any number of pictures, in evaluation mode."""
    return in_batches(network, network.features, pictures, batch)


def in_batches(
    network: FeatureNetwork,
    function: Callable[[Tensor], Tensor],
    pictures: Float[Tensor, "n C H W"],
    batch: int = 1024,
) -> Tensor:
    """Applies `function` to batch after batch on the network's device, and joins the results."""
    if len(pictures) == 0:
        raise UserError("no pictures were given", "at least one was expected")
    network.eval()
    return torch.cat([function(part.to(network.device)) for part in pictures.split(batch)])
