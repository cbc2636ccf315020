"""Weights in fewer bits, for sampling that is bound by reading them."""

from __future__ import annotations

import copy

import torch
from torch import nn

from caselli.engine.compression import compression_of
from caselli.engine.packing import AS_IT_IS
from caselli.errors import UnknownName
from caselli.prior.base import Prior
from caselli.shapes import Float, Tensor

PRECISIONS = ("float32", "bfloat16", "int8")
"""Of the linear layers' weights; activations, states and sums stay float32."""


CACHED = 32 << 20
"""Bytes of float32 weights up to which int8 is not faster: each step reads them from a cache."""


def int8_scale(weight: Float[Tensor, "E D"]) -> Float[Tensor, "E"]:
    """The step of each output's weights: its largest lies at ±127.

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
    """int8 where that is how all of a prior's linear layers are stored, so that nothing is rounded, and they
    are more than caches hold, so that reading them takes the time; else float32."""
    packed = compression_of(prior).packed
    layers = {f"{path}.weight": m for path, m in prior.named_modules() if isinstance(m, nn.Linear)}
    stored = [packed.get(name, AS_IT_IS) for name in layers]
    bytes_read = sum(layer.weight.nbytes for layer in layers.values())
    whole_rows = all(how.bits == 8 and not how.group for how in stored)
    return "int8" if whole_rows and bytes_read > CACHED else "float32"


def rounded(prior: Prior, precision: str) -> Prior:
    """The prior whose linear layers have the precision's weights; itself for float32.

    This is the definition of sampling in a precision: whatever computes it follows this prior's distribution.

    Errors: `UnknownName` for a precision that is not in `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise UnknownName("precision", precision, PRECISIONS)
    if precision == "float32":
        return prior
    prior = copy.deepcopy(prior)
    with torch.no_grad():
        for layer in prior.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.copy_(rounded_weight(layer.weight, precision))
    return prior
