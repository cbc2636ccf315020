"""One step of a model and its critic as one loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from caselli.divergence import CriticDivergence
from caselli.engine.task import Losses
from caselli.estimator.base import carry
from caselli.shapes import Float, Tensor


def adversarial(
    divergence: CriticDivergence,
    critic: nn.Module,
    judge: Callable[[Tensor], Tensor],
    real: Float[Tensor, "B ..."],
    fake: Float[Tensor, "B ..."],
) -> Losses:
    """Both players' losses as one sum, each cut off from the other's parameters.

    The critic judges once: its own loss is differentiated in its weights, the model's loss at `fake`, and
    that slope is carried to the model.

    Arguments:
        divergence: both losses, and what keeps the critic smooth.
        critic: whose weights may be constrained.
        judge: the critic as a function of samples alone.
        real, fake: samples of the data and of the model; without a gradient in `fake` only the critic learns.

    Example:
        >>> from caselli.divergence import Hinge
        >>> critic, fake = nn.Linear(2, 1), torch.zeros(3, 2, requires_grad=True)
        >>> adversarial(Hinge(), critic, critic, torch.ones(3, 2), fake).total.backward()
        >>> torch.allclose(fake.grad, -critic.weight.detach().expand(3, 2) / 3)
        True
    """
    divergence.constrain(critic)
    shown = fake.detach().requires_grad_()
    above, below = judge(real), judge(shown)
    critic_loss = divergence.critic_loss(above, below)
    penalty = divergence.penalty(judge, real, shown)
    model_loss = divergence.generator_loss(above.detach(), below)
    (slope,) = torch.autograd.grad(model_loss, shown, retain_graph=True)
    total = critic_loss + penalty + model_loss.detach()
    if fake.requires_grad:
        total = total + carry(fake, slope)
    metrics = {
        "critic_loss": critic_loss,
        "generator_loss": model_loss,
        "penalty": penalty,
        "gap": above.mean() - below.mean(),
    }
    return Losses(total, {name: value.detach() for name, value in metrics.items()})
