"""Weights as integers of 8 or 4 bits, rounded after training or in its last part."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.utils import parametrize

from caselli.errors import lookup
from caselli.quantizer import Quantizer
from caselli.shapes import Float, Tensor
from caselli.weights import Compression, Packing, multiply_integers, rounded, smallest, snapped


@dataclasses.dataclass(frozen=True)
class Precision:
    """Number of bits that each kind of weight is stored in."""

    matrices: Packing
    """Packing of the weights of linear layers and convolutions."""
    tables: Packing
    """Packing of embeddings, of a prior's last layer, and of matrices too small for their bytes to matter."""


PRECISIONS = {
    "int8": Precision(Packing(8), Packing(8)),
    "int4": Precision(Packing(4, group=32), Packing(8)),
}
"""int8: one scale a row, the grid of the sampling engine. int4: one scale for each 32 weights of a row."""

CONVOLUTIONS = nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d
SMALL = 4096
"""Largest number of weights of a matrix that stays in 8 bits."""


def matrices(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every linear layer, convolution and embedding with its path; none of a quantizer's, whose codebook and
    projections decide on the codes.

    Example:
        >>> [path for path, _ in matrices(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Embedding(4, 5)))]
        ['0', '2']
    """
    codebooks = [path for path, part in module.named_modules() if isinstance(part, Quantizer)]
    for path, part in module.named_modules():
        outside = not any(path == book or path.startswith(book + ".") for book in codebooks)
        if outside and isinstance(part, nn.Linear | nn.Embedding | CONVOLUTIONS):
            yield path, part


def packings(module: nn.Module, precision: str) -> dict[str, Packing]:
    """The packing of each weight that a precision rounds, by the weight's name.

    Errors: `UnknownName` for a precision that is not in `PRECISIONS`.

    Example:
        >>> packings(nn.Sequential(nn.Linear(128, 64)), "int4")
        {'0.weight': Packing(bits=4, group=32, sparse=False)}
    """
    known = lookup(PRECISIONS, "precision", precision)
    return {
        f"{path}.weight": known.tables if _is_table(path, part) else known.matrices
        for path, part in matrices(module)
    }


def _is_table(path: str, part: nn.Module) -> bool:
    return isinstance(part, nn.Embedding) or path == "head" or part.weight.numel() <= SMALL


@torch.no_grad()
def quantise(module: nn.Module, precision: str, activations: str = "") -> Compression:
    """Rounds the weights of a module in place; returns how they are packed in a file.

    Biases, norms, whatever is neither matrix nor table, and the quantizer's codebooks stay float32. Weights
    that are zero stay zero; where they are many they are left out of the file.

    Arguments:
        module: a prior or a tokenizer.
        precision: name in `PRECISIONS`.
        activations: int8 for linear layers that round what they are given too, each row by its largest, and
            multiply integers (those of 8 bits; convolutions do not); empty for float activations.

    Errors: `UnknownName` for another precision.
    """
    packed = {}
    for name, packing in packings(module, precision).items():
        weight = module.get_parameter(name)
        weight.copy_(rounded(weight, packing))
        packed[name] = smallest(weight, packing)
    made = Compression(packed=packed, activations=activations)
    multiply_integers(module, made.integers())
    return made


class Snapped(nn.Module):
    r"""Weights on the grid in the forward pass, with the gradient of the weights that lie behind them.

    .. math:: \tilde w = w + \mathrm{sg}\big(s\,\mathrm{round}(w / s) - w\big)

    Source: Jacob et al. 2018, Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference; Bengio et al. 2013, Estimating or Propagating Gradients Through
    Stochastic Neurons.
    """

    def __init__(self, packing: Packing) -> None:
        super().__init__()
        self.packing = packing

    def forward(self, weight: Float[Tensor, "R *S"]) -> Float[Tensor, "R *S"]:
        return weight + (snapped(weight.detach(), self.packing) - weight.detach())


def quantise_in_training(module: nn.Module, precision: str) -> None:
    """From here on the module computes with weights on the grid, and trains those behind them; `settle`
    ends it.

    Errors: `UnknownName` for a precision that is not in `PRECISIONS`.
    """
    for name, packing in packings(module, precision).items():
        parametrize.register_parametrization(
            module.get_submodule(name.rpartition(".")[0]), "weight", Snapped(packing)
        )


def settle(module: nn.Module) -> None:
    """Makes the weights of a module's layers what they stand for: on the grid, or zero where removed."""
    settled: dict[nn.Module, nn.Module] = {}
    for path, part in list(module.named_modules(remove_duplicate=False)):
        if path and parametrize.is_parametrized(part, "weight"):
            if part not in settled:
                settled[part] = _settled(part)
            owner, _, leaf = path.rpartition(".")
            setattr(module.get_submodule(owner), leaf, settled[part])


def _settled(layer: nn.Module) -> nn.Module:
    """A layer of the class that this one had before it was parametrized, with the weight in use.

    `remove_parametrizations` would break the layer's copies: they share the class that it undoes.
    """
    kind, state = parametrize.type_before_parametrizations(layer), dict(vars(layer))
    state["_modules"] = {name: m for name, m in layer.named_children() if name != "parametrizations"}
    weight = nn.Parameter(layer.weight.detach())
    state["_parameters"] = dict(layer.named_parameters(recurse=False)) | {"weight": weight}
    settled = kind.__new__(kind)
    settled.__setstate__(state)
    return settled
