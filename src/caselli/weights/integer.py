"""Linear layers that multiply integers: weights of 8 bits, and activations rounded to 8 bits as they come."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from caselli.private import integer_product
from caselli.shapes import Float, Tensor


def rounded_rows(x: Float[Tensor, "*A D"]) -> tuple[Float[Tensor, "*A D"], Float[Tensor, "*A 1"]]:
    """Integers −127 … 127 and a scale for each row, whose largest lies at ±127.

    The definition of int8 for activations and for weights alike. Weights out of a file of 8 bits are on this
    grid already, so that rounding them changes nothing.

    Example:
        >>> rounded_rows(torch.tensor([[254.0, -3.0]]))
        (tensor([[127.,  -2.]]), tensor([[2.]]))
    """
    scale = x.abs().amax(-1, keepdim=True).clamp_min(1e-30) / 127  # a row of zeros has a scale too
    return (x / scale).round(), scale


class IntegerLinear(nn.Linear):
    r"""A linear layer with the parameters of another, which are on the grid of 8 bits.

    .. math:: y = s_x s_w\,\big(\mathrm{round}(x / s_x)\,\mathrm{round}(w / s_w)^\top\big) + b

    with a scale for each row of x and of w. Without gradients, on the CPU, the product is one of integers;
    else, and in exported programs, the same numbers are multiplied as floats, with the gradient straight
    through the rounding of x.

    Arguments:
        layer: whose weight and bias it has.

    Source: Dettmers et al. 2022, LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale (its
    vector-wise part).

    Example:
        >>> layer, x = nn.Linear(3, 4), torch.randn(5, 3)
        >>> (IntegerLinear(layer)(x) - layer(x)).abs().max() < 0.05
        tensor(True)
    """

    def __init__(self, layer: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias
        self.kept: tuple[Tensor, int, Tensor, Tensor] | None = None

    def forward(self, input: Float[Tensor, "*A D"]) -> Float[Tensor, "*A E"]:
        integers, scale = rounded_rows(input)
        if torch.is_grad_enabled() or not input.is_cpu or torch.compiler.is_exporting():
            given = input + (integers * scale - input).detach()
            return F.linear(given, self.weight, self.bias)
        weight, steps = self._integers()
        flat = integers.reshape(-1, self.in_features).to(torch.int8)
        product = integer_product(flat, weight).to(input.dtype).view(*input.shape[:-1], self.out_features)
        y = product * (scale * steps)
        return y if self.bias is None else y + self.bias

    def parts(self, x: Float[Tensor, "*A D"], sizes: Sequence[int]) -> list[Tensor]:
        """The output in parts, as of `caselli.mixer.dense.Dense`."""
        return list(self(x).split(sizes, -1))

    def _integers(self) -> tuple[Tensor, Tensor]:
        """The weight as integers, `I O`, and their scales; made anew when the weight has changed."""
        weight = self.weight  # where it is parametrised, another tensor whenever it is asked for
        if self.kept is None or self.kept[0] is not weight or self.kept[1] != weight._version:
            integers, steps = rounded_rows(weight.detach())
            self.kept = weight, weight._version, integers.to(torch.int8).t().contiguous(), steps.flatten()
        return self.kept[2:]


def multiply_integers(module: nn.Module, names: Sequence[str]) -> None:
    """Replaces the linear layers of a module whose weights are named."""
    for name in names:
        path, _, leaf = name.removesuffix(".weight").rpartition(".")
        owner = module.get_submodule(path)
        layer = getattr(owner, leaf)
        if isinstance(layer, nn.Linear):
            setattr(owner, leaf, IntegerLinear(layer))
