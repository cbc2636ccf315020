"""One step of a model and its critic as one loss."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from caselli.divergence import CriticDivergence
from caselli.engine import Losses
from caselli.ops import inject_gradient
from caselli.shapes import Float, Tensor


def adversarial(
    divergence: CriticDivergence,
    critic: nn.Module,
    judge: Callable[[Tensor], Tensor],
    real: Float[Tensor, "B ..."],
    fake: Float[Tensor, "B ..."],
) -> Losses:
    """Both players' losses as one sum, each cut off from the other's parameters.

    Arguments:
        divergence: both losses, and what keeps the critic smooth.
        critic: whose weights may be constrained.
        judge: the critic as a function of samples alone.
        real, fake: samples of the data and of the model; without a gradient in `fake` only the critic learns.

    Example:
        >>> import torch
        >>> from caselli.divergence import Hinge
        >>> critic, fake = nn.Linear(2, 1), torch.zeros(3, 2, requires_grad=True)
        >>> adversarial(Hinge(), critic, critic, torch.ones(3, 2), fake).total.backward()
        >>> torch.allclose(fake.grad, -critic.weight.detach().expand(3, 2) / 3)
        True
    """
    divergence.constrain(critic)
    shown = fake.detach().requires_grad_()
    found = divergence.judge(judge, real, shown)
    penalty = divergence.penalty(judge, real, shown)
    total = found.critic_loss + penalty + found.generator_loss
    if fake.requires_grad:
        total = total + inject_gradient(fake, found.slope)
    metrics = {
        "critic_loss": found.critic_loss,
        "generator_loss": found.generator_loss,
        "penalty": penalty,
        "gap": found.real.mean() - found.fake.mean(),
    }
    return Losses(total, {name: value.detach() for name, value in metrics.items()})
