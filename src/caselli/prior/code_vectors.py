"""Embeddings and logits of codes that share what is learnt of one with those whose vectors lie near it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize

from caselli.prior.base import Prior, SequencePrior
from caselli.quantizer import Quantizer
from caselli.shapes import Float, Tensor

SCALES = {"code": 0.06, "head": 0.02}
"""Deviations of what the vectors add to embeddings and to weights of logits when training begins; those of
the free tables are 0.02."""


class FromVectors(nn.Module):
    r"""A table with a row for each code, as a free table T and a linear map of the codebook's vectors V.

    .. math:: W = T + V M

    T tells codes apart that lie near one another; M is learnt from all codes together, so that a rare one
    begins with what its neighbours have taught. The sum is linear in both: it is folded into one table when
    training is over, and averages of weights are those of the table.

    Arguments:
        vectors: of each code; rows of zeros behind them for entries that are no codes.
        width: E.
        scale: deviation of V M in the beginning.
    """

    def __init__(self, vectors: Float[Tensor, "K D"], width: int, scale: float) -> None:
        super().__init__()
        self.register_buffer("vectors", vectors)
        self.map = nn.Parameter(scale * torch.randn(vectors.shape[1], width) / vectors.shape[1] ** 0.5)

    def forward(self, table: Float[Tensor, "K E"]) -> Float[Tensor, "K E"]:
        with torch.autocast(table.device.type, enabled=False):
            return torch.addmm(table, self.vectors.to(table.dtype), self.map)


def code_vectors(quantizer: Quantizer) -> Float[Tensor, "K D"] | None:
    """The vector of every entry of all codebooks joined, each codebook's with mean 0 and deviation 1; None
    where a code has no vector of its own, as its place decides too.

    Example:
        >>> from caselli.quantizer import FSQ
        >>> code_vectors(FSQ(2, levels=(3, 3))).shape
        torch.Size([9, 2])
    """
    if not quantizer.sizes or not quantizer.places_are_own:
        return None
    count, parts = len(quantizer.sizes), []
    for book, size in enumerate(quantizer.sizes):
        codes = torch.zeros(1, count, size, dtype=torch.int64)
        codes[0, book] = torch.arange(size)
        with torch.no_grad():
            vectors = quantizer.decode(codes if count > 1 else codes[:, 0])[0].T.float()
        vectors = vectors - vectors.mean(0)
        parts.append(vectors / vectors.std().clamp_min(1e-6))
    return torch.cat(parts)


def share(prior: Prior, quantizer: Quantizer) -> None:
    """Makes a prior's embeddings of codes and its weights of logits sums of a table and a map of the codes'
    vectors, in place; where there is no row or no vector for each code, they stay as they are.

    Arguments:
        prior: untrained.
        quantizer: the trained one whose codes it learns.
    """
    if not isinstance(prior, SequencePrior) or not prior.code_head.tabular:
        return
    vectors = code_vectors(quantizer)
    if vectors is None:
        return
    for name, scale in SCALES.items():
        layer = getattr(prior, name)
        if layer is None:
            continue
        own = F.pad(vectors, (0, 0, 0, len(layer.weight) - len(vectors)))
        parametrize.register_parametrization(layer, "weight", FromVectors(own, layer.weight.shape[1], scale))


def fold(prior: Prior) -> None:
    """Undoes `share`, in place: the sums become tables in layers of the usual kind."""
    for name in SCALES:
        layer = getattr(prior, name, None)
        if layer is not None and parametrize.is_parametrized(layer, "weight"):
            setattr(prior, name, _folded(layer))


def _folded(layer: nn.Module) -> nn.Module:
    # not by remove_parametrizations, which takes the weight from deep copies of the layer too
    weight = layer.weight.detach()
    if isinstance(layer, nn.Embedding):
        return nn.Embedding.from_pretrained(weight, freeze=False)
    plain = nn.Linear(weight.shape[1], weight.shape[0], layer.bias is not None, device="meta")
    plain.weight, plain.bias = nn.Parameter(weight), layer.bias
    return plain
