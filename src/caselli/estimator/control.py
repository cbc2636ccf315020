"""Control variates that are learned: what LAX, REBAR and RELAX share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from caselli.errors import UserError
from caselli.estimator.base import squared_norm
from caselli.estimator.relaxation import Relaxation
from caselli.ops import inject_gradient


class Control(nn.Module):
    """The default c_φ: a network of one event, given flat, `*any width` → `*any`.

    Arguments:
        width: numbers in one event (for one-hot latents, times the categories).
        hidden: units of the one hidden layer.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.width = width
        self.network = nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, 1))

    def forward(self, z: Tensor) -> Tensor:
        if z.shape[-1] != self.width:
            raise UserError(
                f"an event of {z.shape[-1]} numbers was given",
                f"the control variate expects {self.width}",
                f"build the estimator with width={z.shape[-1]}",
            )
        return self.network(z.to(self.network[0].weight.dtype)).squeeze(-1).to(z.dtype)


def flat(z: Tensor, axes: int) -> Tensor:
    """`*any *event` → `*any n`, where an event has `axes` axes."""
    return z.flatten(-axes) if axes else z[..., None]


def controlled_gradient(r: Relaxation, hard: Tensor, values: Tensor, c: Tensor, tilde: Tensor) -> Tensor:
    r"""The estimate in the logits of r, a leaf: :math:`(f(b) - c(\tilde z)) s + ∇c(z) - ∇c(\tilde z)`.

    It stays on the graph of the control variate's own parameters.
    """
    scored = r.weighted_score(hard, values - tilde)
    total = (c - tilde).mean(0).sum()
    (path,) = torch.autograd.grad(total, r.logits, create_graph=True)
    return scored + path


def finish(
    targets: list[Tensor], gradients: list[Tensor], module: nn.Module
) -> tuple[Tensor | float, Tensor | None]:
    """The gradients injected to the parameters of p, and the loss that lowers their variance."""
    injected = sum(inject_gradient(t, g) for t, g in zip(targets, gradients, strict=True) if t.requires_grad)
    own = [w for w in module.parameters() if w.requires_grad]
    return injected, squared_norm(gradients, own) if module.training and own else None
