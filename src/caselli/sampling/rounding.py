"""Weights in fewer bits, for sampling that is bound by reading them."""

from __future__ import annotations

import copy

import torch
from torch import nn

from caselli.engine.compression import compression_of
from caselli.engine.packing import AS_IT_IS
from caselli.errors import UnknownName
from caselli.prior import Prior
from caselli.shapes import Float, Tensor

WEIGHT_PRECISIONS = ("float32", "bfloat16", "int8")
"""Precisions of the linear layers' weights in sampling; activations, states and sums stay float32."""

_CACHED = 32 << 20
"""Bytes of float32 weights up to which int8 is not faster: each step reads them from a cache."""


def int8_scale(weight: Float[Tensor, "E D"]) -> Float[Tensor, "E"]:
    """The quantisation step of each output's weights: the largest lies at ±127.

    Example:
        >>> int8_scale(torch.tensor([[127.0, -254.0]]))
        tensor([2.])
    """
    return weight.abs().amax(1).clamp_min(1e-30) / 127


def rounded_weight(weight: Float[Tensor, "E D"], precision: str) -> Float[Tensor, "E D"]:
    """The nearest weights that the precision holds, in the weights' own dtype.

    Example:
        >>> rounded_weight(torch.tensor([[127.0, 3.4]]), "int8")
        tensor([[127.,   3.]])
    """
    if precision == "bfloat16":
        return weight.bfloat16().to(weight.dtype)
    if precision == "int8":
        scale = int8_scale(weight)[:, None]
        return (weight / scale).round() * scale
    return weight


def own_precision(prior: Prior) -> str:
    """The precision for sampling that changes no weight: int8 where all linear layers are stored so and are
    more than caches hold, so that reading them takes the time; else float32."""
    packed = compression_of(prior).packed
    layers = {f"{path}.weight": m for path, m in prior.named_modules() if isinstance(m, nn.Linear)}
    stored = [packed.get(name, AS_IT_IS) for name in layers]
    bytes_read = sum(layer.weight.nbytes for layer in layers.values())
    whole_rows = all(how.bits == 8 and not how.group for how in stored)
    return "int8" if whole_rows and bytes_read > _CACHED else "float32"


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
