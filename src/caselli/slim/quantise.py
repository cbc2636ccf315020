"""Weights as integers of 8 or 4 bits, rounded after training or in its last part."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.utils import parametrize

from caselli.engine.compression import compression_of
from caselli.engine.integer import multiply_integers
from caselli.engine.packing import AS_IT_IS, Packing, rounded, smallest, snapped
from caselli.errors import lookup
from caselli.quantizer import Quantizer
from caselli.shapes import Float, Tensor


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
def quantise(module: nn.Module, precision: str, activations: str = "") -> None:
    """Rounds the weights of a module in place, and notes in it how they are packed in a file.

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
    changes = {"packed": packed, "activations": activations}
    module.compression = dataclasses.replace(compression_of(module), **changes)
    multiply_integers(module, module.compression.integers())


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
    """Makes the weights what they stand for: on the grid, or zero where they were removed."""
    for part in list(module.modules()):
        if parametrize.is_parametrized(part, "weight"):
            weight = part.weight.detach()
            part.__class__ = type(part).__base__  # a class of its own, which copies of the module share
            del part.parametrizations
            part.weight = nn.Parameter(weight)


def plain(module: nn.Module) -> None:
    """Forgets that the weights were packed: a module that is trained on is stored as float32 again."""
    module.compression = dataclasses.replace(compression_of(module), packed={}, activations="")


def weight_bits(module: nn.Module) -> float:
    """Mean bits of a parameter in the file, scales and places of zeros left aside.

    Example:
        >>> weight_bits(nn.Linear(2, 2))
        32.0
    """
    packed = compression_of(module).packed
    sizes = {name: parameter.numel() for name, parameter in module.named_parameters()}
    bits = sum(size * packed.get(name, AS_IT_IS).bits for name, size in sizes.items())
    return bits / sum(sizes.values())
