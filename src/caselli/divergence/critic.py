"""The common part of divergences that a critic estimates."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import nn

from caselli.divergence.base import Divergence, Need
from caselli.divergence.regulariser import Regulariser
from caselli.shapes import Float, Tensor


@dataclasses.dataclass(frozen=True)
class Judgement:
    """A critic's judgement of one batch, for a step of both players at once."""

    real: Float[Tensor, "B ..."]
    """The critic's outputs for data."""
    fake: Float[Tensor, "B ..."]
    """Its outputs for generated samples."""
    critic_loss: Float[Tensor, ""]
    """Differentiable in the critic's weights alone."""
    generator_loss: Float[Tensor, ""]
    """Detached."""
    slope: Float[Tensor, "B ..."]
    """∂ generator_loss / ∂ samples, for `ops.inject_gradient` to bring to the generator."""


class CriticDivergence(Divergence):
    """Losses of a critic and of a generator as pure functions of the critic's outputs.

    Each training step of the critic minimises `critic_loss(critic(real), critic(fake)) +
    penalty(critic, real, fake)` and ends with `constrain(critic)`; each step of the generator minimises
    `generator_loss`. `prepare(critic)` is called once, before its optimiser is made. Outputs may have any
    shape with the batch in front; losses are means over all of it.

    Arguments:
        regularisers: regularisers of the critic, in place of the default ones.
    """

    needs = Need.CRITIC
    symmetric = False

    def __init__(self, *regularisers: Regulariser) -> None:
        self.regularisers = regularisers or self.default_regularisers()

    @staticmethod
    def default_regularisers() -> tuple[Regulariser, ...]:
        """The regularisers of the published method; none for most."""
        return ()

    @abstractmethod
    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """The scalar that the critic minimises, from its outputs for data and for generated samples."""

    @abstractmethod
    def generator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """The scalar that the generator minimises, from the same outputs."""

    def prepare(self, critic: nn.Module) -> nn.Module:
        """The critic as the regularisers need it."""
        for regulariser in self.regularisers:
            critic = regulariser.prepare(critic)
        return critic

    def judge(self, critic: Callable[[Tensor], Tensor], real: Tensor, shown: Tensor) -> Judgement:
        """Both losses at once: neither player gets the other's gradient, and nothing is computed twice.

        Arguments:
            critic: samples → outputs.
            real: samples of the data.
            shown: generated samples, a leaf that requires a gradient.

        Example:
            >>> from caselli.divergence import Hinge
            >>> critic, shown = nn.Linear(2, 1), torch.zeros(3, 2, requires_grad=True)
            >>> torch.allclose(Hinge().judge(critic, shown, shown).slope, -critic.weight / 3)
            True
        """
        above, below = critic(real), critic(shown)
        generator_loss = self.generator_loss(above.detach(), below)
        (slope,) = torch.autograd.grad(generator_loss, shown, retain_graph=True)
        return Judgement(above, below, self.critic_loss(above, below), generator_loss.detach(), slope)

    def penalty(self, critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        """The sum of the regularisers' terms, at samples rather than at outputs."""
        return sum((r.penalty(critic, real, fake) for r in self.regularisers), real.new_zeros(()))

    def constrain(self, critic: nn.Module) -> None:
        """Changes the critic's weights in place where a regulariser asks for it."""
        for regulariser in self.regularisers:
            regulariser.constrain(critic)
