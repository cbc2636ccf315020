"""A module held without being a part."""

from __future__ import annotations

import torch
from torch import nn


class Borrowed:
    """A module that is no part of its holder: not among its weights, so neither saved nor averaged, and
    shared by the holder's copies.

    Arguments:
        network: module to be held.

    Example:
        >>> import copy
        >>> borrowed = Borrowed(nn.Identity())
        >>> copy.deepcopy(borrowed) is borrowed
        True
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def on(self, device: torch.device) -> nn.Module:
        """The network, moved to the device."""
        return self.network.to(device)

    def __deepcopy__(self, memo: dict[int, object]) -> Borrowed:
        return self
