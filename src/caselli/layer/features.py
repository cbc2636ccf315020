"""The contract of networks that turn pictures into features."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn

from caselli.errors import UserError
from caselli.shapes import Float, Tensor


class FeatureNetwork(nn.Module, ABC):
    """Pictures in [-1, 1] → one row of features each; figures name the network, for they depend on it."""

    features_name: str
    """What the features are called in reports."""

    @abstractmethod
    def features(self, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F"]:
        """The features of one batch."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device


def coloured(pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "B 3 H W"]:
    """Grey pictures with their channel repeated; colour ones as they are."""
    if pictures.ndim != 4 or pictures.shape[1] not in (1, 3):
        raise UserError(
            f"pictures of shape {tuple(pictures.shape)} were given", "B C H W with C = 1 or 3 was expected"
        )
    return pictures.expand(-1, 3, -1, -1)
