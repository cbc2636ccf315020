"""Weights that change by little: low-rank differences of matrices, and rows that are added to embeddings."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.utils import parametrize

from caselli.errors import UserError
from caselli.prior.base import Prior
from caselli.shapes import Float, Tensor


class LowRank(nn.Module):
    r"""A matrix and a difference of a low rank; the difference alone is trained.

    .. math:: \tilde W = W + B A, \qquad A \in \mathbb R^{r \times D},\; B \in \mathbb R^{E \times r}

    B begins at zero, so that training begins with W.

    Arguments:
        outputs, inputs: E and D.
        rank: r.

    Source: Hu et al. 2021, LoRA: Low-Rank Adaptation of Large Language Models.

    Example:
        >>> weight = torch.randn(4, 3)
        >>> LowRank(4, 3, rank=2)(weight).equal(weight)
        True
    """

    def __init__(self, outputs: int, inputs: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, inputs) / inputs**0.5)
        self.up = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, weight: Float[Tensor, "E D"]) -> Float[Tensor, "E D"]:
        return weight + self.up @ self.down


class Rows(nn.Module):
    """A matrix of which some rows are trained, and the others stay.

    Arguments:
        first: number of the first of those rows.
        rows: their values at the beginning.

    Example:
        >>> Rows(1, torch.ones(1, 2))(torch.zeros(3, 2))[:, 0]
        tensor([0., 1., 0.], grad_fn=<SelectBackward0>)
    """

    def __init__(self, first: int, rows: Float[Tensor, "n E"]) -> None:
        super().__init__()
        self.first, self.rows = first, nn.Parameter(rows.detach().clone())

    def forward(self, weight: Float[Tensor, "R E"]) -> Float[Tensor, "R E"]:
        return torch.cat((weight[: self.first], self.rows, weight[self.first + len(self.rows) :]))


def adapt(prior: Prior, rank: int, added: Mapping[str, tuple[int, int]]) -> None:
    """Freezes a prior but for low-rank differences of its linear layers, and rows of its embeddings.

    Arguments:
        prior: changed in place; `caselli.slim.settle` makes its weights plain again.
        rank: rank of the differences.
        added: name of an embedding's weight → first of the rows that are trained, and their number.

    Errors: `UserError` for a prior without linear layers, and for a rank below 1.
    """
    if rank < 1:
        raise UserError(f"rank {rank} was given", "at least 1 was expected")
    inner = {id(weight) for weight in prior.hidden_matrices()}
    names = [name for name, weight in prior.named_parameters() if id(weight) in inner]
    if not names:
        raise UserError(
            f"a prior of kind {prior.kind} has no linear layers for adapters",
            "another kind was expected",
            "train all weights: --rank 0",
        )
    prior.requires_grad_(False)
    for name in names:
        layer, _ = _owner(prior, name)
        parametrize.register_parametrization(layer, "weight", LowRank(*layer.weight.shape, rank))
    for name, (first, count) in added.items():
        layer, _ = _owner(prior, name)
        rows = Rows(first, layer.weight[first : first + count])
        parametrize.register_parametrization(layer, "weight", rows)


def differences(prior: Prior) -> tuple[dict[str, tuple[Tensor, Tensor]], dict[str, Tensor]]:
    """B and A of each matrix, and the rows of each embedding, by the weights' names; of an adapted prior."""
    matrices: dict[str, tuple[Tensor, Tensor]] = {}
    rows: dict[str, Tensor] = {}
    for path, part in prior.named_modules():
        where = path.removesuffix(".parametrizations.weight.0") + ".weight"
        if type(part) is LowRank:
            matrices[where] = (part.up.detach(), part.down.detach())
        elif type(part) is Rows:
            rows[where] = part.rows.detach()
    return matrices, rows


def _owner(prior: Prior, name: str) -> tuple[nn.Module, str]:
    path, _, leaf = name.rpartition(".")
    return prior.get_submodule(path), leaf
