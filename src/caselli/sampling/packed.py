"""The engine for any mixer on the CPU: PyTorch's steps, the linear layers' weights laid out once."""

from __future__ import annotations

import copy

import torch
from torch import nn

from caselli.mixer.dense import Dense
from caselli.prior import Prior
from caselli.prior.block import Block
from caselli.prior.layer import ACTIVATIONS
from caselli.private import has_onednn_linear, onednn_layout, onednn_linear
from caselli.sampling.base import Engine, expect_served
from caselli.sampling.drawing import SeededDrawing
from caselli.sampling.eager import EagerEngine
from caselli.sampling.rounding import rounded
from caselli.shapes import Float, Tensor


class PrepackedLinear(Dense):
    """A linear layer whose weight oneDNN has laid out for products with a number of rows; no gradients.

    A product with few rows is bound by reading the weight, and MKL reads it at a third of the memory's rate.
    With `gelu` the activation is the layer's own.
    """

    def __init__(self, layer: nn.Linear, rows: int, gelu: bool = False) -> None:
        nn.Module.__init__(self)
        self.gelu = gelu
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias
        self.packed = onednn_layout(layer.weight.detach(), rows)

    def forward(self, x: Float[Tensor, "*A D"]) -> Float[Tensor, "*A E"]:
        flat = x.reshape(-1, self.in_features)
        y = onednn_linear(flat, self.packed, self.bias, self.gelu)
        return y.view(*x.shape[:-1], self.out_features)


class PackedEngine(Engine):
    """`EagerEngine` with the weights of every linear layer laid out by oneDNN, and GELU in its products.

    Arguments:
        prior: the distribution, float32 on the CPU.
        precision: its linear layers' weights are rounded to it; they are kept, and read, as float32.

    Errors: `Unavailable` for another device or dtype, and where PyTorch was built without oneDNN.
    """

    def __init__(self, prior: Prior, precision: str = "float32") -> None:
        expect_served(self.refusal(prior))
        self.prior, self.precision = rounded(prior, precision), precision
        self.rows, self.eager = 0, EagerEngine(self.prior)

    @staticmethod
    def refusal(prior: Prior) -> str | None:
        weight = prior.head.weight
        if not weight.is_cpu or weight.dtype != torch.float32:
            return f"weights are packed for float32 on the CPU, not {weight.dtype}"
        if not has_onednn_linear():
            return "this PyTorch has no oneDNN"
        return None

    @property
    def name(self) -> str:
        return "step by step in PyTorch, packed weights"

    def draw(self, drawing: SeededDrawing) -> None:
        if drawing.rows != self.rows:
            self.rows, self.eager = drawing.rows, EagerEngine(prepacked(self.prior, drawing.rows))
        self.eager.draw(drawing)

    def bytes_per_step(self) -> int:
        return self.eager.bytes_per_step()


def prepacked(prior: Prior, rows: int) -> Prior:
    """A copy of the prior whose linear layers are laid out for steps of `rows` rows, and take GELU of their
    sums where it stands behind them; it shares the parameters."""
    shared = {id(tensor): tensor for tensor in (*prior.parameters(), *prior.buffers())}
    prior = copy.deepcopy(prior, shared)
    with torch.no_grad():
        for module in list(prior.modules()):
            takes_gelu = isinstance(module, Block) and module.activation is ACTIVATIONS["gelu"][0]
            for name, child in module.named_children():
                if isinstance(child, nn.Linear):
                    setattr(module, name, PrepackedLinear(child, rows, takes_gelu and name == "up"))
            if takes_gelu:
                module.activation = nn.Identity()
    return prior
