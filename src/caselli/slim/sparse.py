"""Zeros in place of small weights: stored without them, in any pattern or two of every four."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize

from caselli.shapes import Bool, Float, Tensor
from caselli.slim.quantise import matrices
from caselli.weights import AS_IT_IS, Compression, smallest


def largest(weight: Float[Tensor, "R *S"], share: float) -> Bool[Tensor, "R *S"]:
    """Where the weights are that stay when the smallest share of a matrix goes.

    Source: Han et al. 2015, Learning both Weights and Connections for Efficient Neural Networks.

    Example:
        >>> largest(torch.tensor([[1.0, -3.0, 2.0, 0.5]]), 0.5)
        tensor([[False,  True,  True, False]])
    """
    going = round(share * weight.numel())
    smallest_first = weight.abs().flatten().argsort(stable=True)
    stay = torch.ones(weight.numel(), dtype=torch.bool, device=weight.device)
    stay[smallest_first[:going]] = False
    return stay.view(weight.shape)


def two_of_four(weight: Float[Tensor, "R *S"], share: float = 0.5) -> Bool[Tensor, "R *S"]:
    """Where the two largest of every four neighbouring weights of a row are; `share` is a half.

    Source: Mishra et al. 2021, Accelerating Sparse Deep Neural Networks.

    Example:
        >>> two_of_four(torch.tensor([[1.0, -3.0, 2.0, 0.5]]))
        tensor([[False,  True,  True, False]])
    """
    rows = weight.flatten(1)
    fours = F.pad(rows.abs(), (0, -rows.shape[1] % 4), value=-1.0).unflatten(1, (-1, 4))
    index = fours.argsort(dim=-1, descending=True, stable=True)[..., :2]
    stay = torch.zeros_like(fours, dtype=torch.bool).scatter_(-1, index, True)
    return stay.flatten(1)[:, : rows.shape[1]].reshape(weight.shape)


PATTERNS: dict[str, Callable[[Tensor, float], Tensor]] = {"weights": largest, "2:4": two_of_four}
"""Pattern → a function of a matrix and the share to remove; it gives the places that stay."""


class Masked(nn.Module):
    """Weights that are zero where they were removed, whatever training makes of those behind them."""

    def __init__(self, stay: Bool[Tensor, "R *S"]) -> None:
        super().__init__()
        self.register_buffer("stay", stay, persistent=False)

    def forward(self, weight: Float[Tensor, "R *S"]) -> Float[Tensor, "R *S"]:
        return weight * self.stay


@torch.no_grad()
def remove_weights(network: nn.Module, pattern: str, share: float) -> str:
    """Sets a share of each matrix's weights to zero; says in words what went. Embeddings stay whole.

    Arguments:
        network: a prior, or a tokenizer's decoder.
        pattern: name in `PATTERNS`.
        share: of the weights of each linear layer and convolution.
    """
    zeros = total = 0
    for _, part in matrices(network):
        if not isinstance(part, nn.Embedding):
            part.weight.mul_(PATTERNS[pattern](part.weight, share))
            zeros += int((part.weight == 0).sum())
            total += part.weight.numel()
    return f"{total - zeros:,} of {total:,} weights of the linear layers and convolutions stay"


def leave_zeros_out(network: nn.Module) -> Compression:
    """Packings of a network's matrices that leave zeros out, where that takes fewer bytes."""
    packed = {f"{path}.weight": smallest(part.weight.detach(), AS_IT_IS) for path, part in matrices(network)}
    return Compression(packed={name: how for name, how in packed.items() if how != AS_IT_IS})


def keep_zeros(network: nn.Module) -> None:
    """From here on, weights that are zero stay zero in training; `caselli.slim.quantise.settle` ends it."""
    for _, part in matrices(network):
        stay = part.weight.detach() != 0
        if not stay.all():
            parametrize.register_parametrization(part, "weight", Masked(stay))
