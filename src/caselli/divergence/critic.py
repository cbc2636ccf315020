"""Divergences estimated by a critic: what they share."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

from caselli.divergence.base import Divergence, Need
from caselli.divergence.regulariser import Regulariser


class CriticDivergence(Divergence):
    """Losses of a critic and of a generator as pure functions of the critic's outputs.

    Each training step of the critic minimises `critic_loss(critic(real), critic(fake)) +
    penalty(critic, real, fake)` and ends with `constrain(critic)`; each step of the generator minimises
    `generator_loss`. `prepare(critic)` is called once, before its optimiser is made. Outputs may have any
    shape with the batch in front; losses are means over all of it.

    Arguments:
        regularisers: what keeps the critic smooth, in place of the default ones.
    """

    needs = Need.CRITIC
    symmetric = False

    def __init__(self, *regularisers: Regulariser) -> None:
        self.regularisers = regularisers or self.default_regularisers()

    @staticmethod
    def default_regularisers() -> tuple[Regulariser, ...]:
        """What the published method uses; nothing for most."""
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

    def penalty(self, critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        """The sum of the regularisers' terms, at samples rather than at outputs."""
        return sum((r.penalty(critic, real, fake) for r in self.regularisers), real.new_zeros(()))

    def constrain(self, critic: nn.Module) -> None:
        """Changes the critic's weights in place where a regulariser asks for it."""
        for regulariser in self.regularisers:
            regulariser.constrain(critic)
