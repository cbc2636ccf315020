"""Weights in fewer bits, for sampling that is bound by reading them."""

from __future__ import annotations

import copy

import torch
from torch import nn

from caselli.errors import UnknownName
from caselli.prior import Prior
from caselli.shapes import Float, Tensor
from caselli.weights import rounded_rows

WEIGHT_PRECISIONS = ("float32", "bfloat16", "int8")
"""Precisions of the linear layers' weights in sampling; activations, states and sums stay float32."""

_CACHED = 32 << 20
"""Bytes of float32 weights up to which int8 is not faster: each step reads them from a cache."""


def rounded_weight(weight: Float[Tensor, "E D"], precision: str) -> Float[Tensor, "E D"]:
    """The nearest weights that the precision holds, in the weights' own dtype.

    Example:
        >>> rounded_weight(torch.tensor([[127.0, 3.4]]), "int8")
        tensor([[127.,   3.]])
    """
    if precision == "bfloat16":
        return weight.bfloat16().to(weight.dtype)
    if precision == "int8":
        integers, scale = rounded_rows(weight)
        return integers * scale
    return weight


def own_precision(prior: Prior) -> str:
    """The precision for sampling that changes no weight: int8 where all linear layers are on
    its grid and are more than caches hold, so that reading them takes the time; else float32."""
    weights = [layer.weight.detach() for layer in prior.modules() if isinstance(layer, nn.Linear)]
    if sum(weight.nbytes for weight in weights) <= _CACHED:
        return "float32"
    on_grid = all(torch.equal(rounded_weight(weight, "int8"), weight) for weight in weights)
    return "int8" if on_grid else "float32"


def rounded(prior: Prior, precision: str) -> Prior:
    """The prior with its linear layers' weights rounded to a precision; itself for float32.

    This is the definition of sampling in a precision: every engine follows this prior's distribution.

    Errors: `UnknownName` for a precision that is not in `WEIGHT_PRECISIONS`.
    """
    if precision not in WEIGHT_PRECISIONS:
        raise UnknownName("precision", precision, WEIGHT_PRECISIONS)
    if precision == "float32":
        return prior
    prior = copy.deepcopy(prior)
    with torch.no_grad():
        for layer in prior.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.copy_(rounded_weight(layer.weight, precision))
    return prior
