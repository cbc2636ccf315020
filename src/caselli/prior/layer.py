"""Parts of a prior's layer beside its mixer: normalisation, MLP, and what a condition changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from caselli.errors import UserError, lookup
from caselli.mixer.dense import Dense
from caselli.ops import dropout, squared_relu
from caselli.shapes import Float, Tensor

NORMS: dict[str, Callable[[int, float], nn.Module]] = {
    "layer": lambda width, epsilon: nn.LayerNorm(width, epsilon, bias=False),
    "layer_offset": lambda width, epsilon: nn.LayerNorm(width, epsilon),
    "layer_bare": lambda width, epsilon: nn.LayerNorm(width, epsilon, elementwise_affine=False),
    "rms": lambda width, epsilon: nn.RMSNorm(width, epsilon),
}
"""Normalisations by name: width and ε → the module."""


def swiglu(x: Float[Tensor, "*A twice"]) -> Float[Tensor, "*A D"]:
    """SiLU of the first half of the channels, times the second.

    Source: Shazeer 2020, GLU Variants Improve Transformer.

    Example:
        >>> swiglu(torch.tensor([0.0, 3.0]))
        tensor([0.])
    """
    gate, value = x.chunk(2, -1)
    return F.silu(gate) * value


ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "gelu": (lambda x: F.gelu(x, approximate="tanh"), 1),
    "gelu_exact": (F.gelu, 1),
    "swiglu": (swiglu, 2),
    "squared_relu": (squared_relu, 1),
}
"""Activations of the MLP by name: the function, and how many channels it takes for each that it gives."""


class Dropout(nn.Dropout):
    """`torch.nn.Dropout` through `caselli.ops.dropout`.

    Example:
        >>> Dropout(0.5).eval()(torch.ones(2))
        tensor([1., 1.])
    """

    def forward(self, input):
        return dropout(input, self.p) if self.training and self.p else input


PLACES = ("before", "after")
POSITIONS = ("learned", "none")


@dataclasses.dataclass(frozen=True)
class LayerConfig:
    """Parts of every layer of a prior, and of its ends; the defaults are Caselli's own."""

    norm: str = "layer"
    """Normalisation: layer (without offset), layer_offset, layer_bare (without weights) or rms."""
    norm_place: str = "before"
    """Place of the normalisation: before mixer and MLP, or after the sum, as in BERT."""
    epsilon: float = 1e-5
    """ε of the normalisation."""
    final_norms: int = 1
    """Number of normalisations behind the last layer."""
    final_norm: str = ""
    """Normalisation behind the last layer, where it is another than the layers'."""
    activation: str = "gelu"
    """Activation of the MLP: gelu (by tanh), gelu_exact, swiglu or squared_relu; an expansion of 0 leaves the
    MLP out."""
    bias: bool = True
    """True for biases in the MLP."""
    head_bias: bool = False
    """True for a bias of the logits."""
    modulation: bool = False
    """True where the label's vector scales and shifts what is normalised, and gates what is added."""
    positions: str = "learned"
    """Vectors added at each slot: learned or none, as where rotary positions suffice."""
    front: bool = False
    """True for learned vectors added to the conditions in front of the sequence too."""
    exit: bool = False
    """True for a linear layer, GELU and normalisation between the last layer and the head, as in BERT."""
    entrance: bool = False
    """True where a learned vector is added to all inputs, and the sum normalised, as in BERT."""

    def __post_init__(self) -> None:
        lookup(NORMS, "prior layer norm", self.norm)
        lookup(NORMS, "prior layer final_norm", self.final_norm or self.norm)
        lookup(ACTIVATIONS, "prior layer activation", self.activation)
        lookup(dict.fromkeys(PLACES), "norm_place", self.norm_place)
        lookup(dict.fromkeys(POSITIONS), "positions", self.positions)
        if self.final_norms < 0 or not self.epsilon > 0:
            raise UserError(f"{self} was given", "final_norms ≥ 0 and epsilon > 0 were expected")
        if self.modulation and self.norm_place == "after":
            raise UserError("modulation was given with norm_place after", "it changes what enters a mixer")

    def normalisation(self, width: int) -> nn.Module:
        """One normalisation."""
        return NORMS[self.norm](width, self.epsilon)

    def final(self, width: int) -> nn.Module:
        """Normalisation behind the last layer."""
        kind = NORMS[self.final_norm or self.norm]
        norms = [kind(width, self.epsilon) for _ in range(self.final_norms)]
        if self.exit:
            norms += [Dense(width, width), nn.GELU(), kind(width, self.epsilon)]
        return norms[0] if len(norms) == 1 else nn.Sequential(*norms)


OWN_LAYER = LayerConfig()
"""Caselli's own layers."""


@dataclasses.dataclass(frozen=True)
class Change:
    """Change of a branch by a condition: its input is scaled and shifted, its output gated."""

    shift: Float[Tensor, "B T E"]
    scale: Float[Tensor, "B T E"]
    gate: Float[Tensor, "B T E"]

    def enter(self, x: Float[Tensor, "B T E"]) -> Float[Tensor, "B T E"]:
        """(1 + scale) x + shift."""
        return torch.addcmul(self.shift, x, 1 + self.scale)

    def leave(self, y: Float[Tensor, "B T E"]) -> Float[Tensor, "B T E"]:
        """gate y."""
        return self.gate * y


class NoChange:
    """A branch that no condition changes."""

    def enter(self, x: Tensor) -> Tensor:
        return x

    def leave(self, y: Tensor) -> Tensor:
        return y


UNCHANGED = (NoChange(), NoChange())


class NoModulation(nn.Module):
    """Two branches as they are."""

    def forward(self, condition: Tensor | None) -> tuple[NoChange, NoChange]:
        return UNCHANGED


class Modulation(nn.Module):
    r"""Adaptive normalisation: shift, scale and gate of each of n branches from a condition.

    .. math:: (\text{shift}, \text{scale}, \text{gate})_{i} = W_i\,\mathrm{SiLU}(c) + b_i

    It starts at zero, so that every layer begins as the identity.

    Arguments:
        width: E.
        branches: n, one or two.

    Source: Peebles and Xie 2023, Scalable Diffusion Models with Transformers (adaLN-Zero).

    Example:
        >>> first, second = Modulation(8)(torch.zeros(2, 1, 8))
        >>> first.enter(torch.ones(2, 3, 8)).shape, second.leave(torch.ones(2, 3, 8)).abs().max()
        (torch.Size([2, 3, 8]), tensor(0., grad_fn=<MaxBackward1>))
    """

    def __init__(self, width: int, branches: int = 2) -> None:
        super().__init__()
        self.branches = branches
        self.project = Dense(width, 3 * branches * width)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, condition: Float[Tensor, "B T E"]) -> tuple[Change | NoChange, Change | NoChange]:
        parts = self.project(F.silu(condition)).chunk(3 * self.branches, -1)
        changes = [Change(*parts[3 * i : 3 * i + 3]) for i in range(self.branches)]
        return (*changes, *UNCHANGED)[:2]


class FinalModulation(nn.Module):
    """The last normalisation, scaled and shifted by a condition.

    Example:
        >>> FinalModulation(8, LayerConfig())(torch.ones(2, 3, 8), torch.zeros(2, 1, 8)).shape
        torch.Size([2, 3, 8])
    """

    def __init__(self, width: int, layer: LayerConfig) -> None:
        super().__init__()
        self.norm = layer.final(width)
        self.project = Dense(width, 2 * width)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, x: Float[Tensor, "B T E"], condition: Float[Tensor, "B T E"]) -> Float[Tensor, "B T E"]:
        shift, scale = self.project(F.silu(condition)).chunk(2, -1)
        return torch.addcmul(shift, self.norm(x), 1 + scale)


class NoFinalModulation(nn.Module):
    """Vectors as they are."""

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        return x


class Entrance(nn.Module):
    """A learned vector added to every input, and the sum normalised.

    Source: Devlin et al. 2019, BERT (the vector of a sequence's type).

    Example:
        >>> Entrance(8, LayerConfig())(torch.ones(2, 3, 8)).shape
        torch.Size([2, 3, 8])
    """

    def __init__(self, width: int, layer: LayerConfig) -> None:
        super().__init__()
        self.vector, self.norm = nn.Parameter(0.02 * torch.randn(width)), layer.normalisation(width)

    def forward(self, x: Float[Tensor, "B T E"]) -> Float[Tensor, "B T E"]:
        return self.norm(x + self.vector)


class NoPositions(nn.Module):
    """Zeros in the place of learned positions.

    Example:
        >>> NoPositions(3, 8).weight.shape
        torch.Size([3, 8])
    """

    def __init__(self, number: int, width: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(number, width), persistent=False)

    def forward(self, index: Tensor) -> Tensor:
        return self.weight[index]
