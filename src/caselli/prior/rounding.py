"""Weights in fewer bits, for sampling that is bound by reading them."""

from __future__ import annotations

import copy

import torch
from torch import nn

from caselli.errors import UnknownName
from caselli.prior.autoregressive import Autoregressive
from caselli.shapes import Float, Tensor

PRECISIONS = ("float32", "bfloat16", "int8")
"""Of the linear layers' weights; activations, states and sums stay float32."""


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


def rounded(prior: Autoregressive, precision: str) -> Autoregressive:
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
