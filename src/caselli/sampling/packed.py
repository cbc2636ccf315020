"""The engine for any mixer on the CPU: PyTorch's steps, the linear layers' weights packed once."""

from __future__ import annotations

import copy

import torch
from torch import nn

from caselli.mixer.dense import Dense
from caselli.prior.base import Prior
from caselli.prior.drawing import Drawing
from caselli.sampling.base import Eager, Engine
from caselli.sampling.compile import Unavailable
from caselli.sampling.rounding import rounded
from caselli.shapes import Float, Tensor


class PackedLinear(Dense):
    """A linear layer whose weight oneDNN has laid out for a number of rows; no gradients.

    A product with few rows is bound by reading the weight, and MKL reads it at a third of the memory's rate.
    """

    def __init__(self, layer: nn.Linear, rows: int) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias
        self.packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), rows)

    def forward(self, x: Float[Tensor, "*A D"]) -> Float[Tensor, "*A E"]:
        flat = x.reshape(-1, self.in_features)
        y = torch.ops.mkldnn._linear_pointwise(flat, self.packed, self.bias, "none", [], "")
        return y.view(*x.shape[:-1], self.out_features)


class Packed(Engine):
    """`Eager` with every linear layer packed.

    Arguments:
        prior: the distribution, float32 on the CPU.
        precision: the weights are rounded to it; they are kept, and read, as float32.

    Errors: `Unavailable` for another device or dtype, and where PyTorch was built without oneDNN.
    """

    def __init__(self, prior: Prior, precision: str = "float32") -> None:
        if not prior.stepwise:
            raise Unavailable(f"a {prior.kind.replace('_', '-')} prior takes many vectors at a time")
        weight = prior.head.weight
        if not weight.is_cpu or weight.dtype != torch.float32:
            raise Unavailable(f"weights are packed for float32 on the CPU, not {weight.dtype}")
        if not (hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.backends.mkldnn.is_available()):
            raise Unavailable("this PyTorch has no oneDNN")
        self.prior, self.precision = rounded(prior, precision), precision
        self.rows, self.eager = 0, Eager(self.prior)

    @property
    def name(self) -> str:
        return "step by step in PyTorch, packed weights"

    def draw(self, drawing: Drawing) -> None:
        if drawing.rows != self.rows:
            self.rows, self.eager = drawing.rows, Eager(packed(self.prior, drawing.rows))
        self.eager.draw(drawing)

    def bytes_per_step(self) -> int:
        return self.eager.bytes_per_step()


def packed(prior: Prior, rows: int) -> Prior:
    """The prior with its linear layers packed for steps of `rows` sequences; it shares the parameters."""
    shared = {id(tensor): tensor for tensor in (*prior.parameters(), *prior.buffers())}
    prior = copy.deepcopy(prior, shared)
    with torch.no_grad():
        for module in list(prior.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.Linear):
                    setattr(module, name, PackedLinear(child, rows))
    return prior
