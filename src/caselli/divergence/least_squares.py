"""The least-squares objective."""

from __future__ import annotations

from torch import Tensor

from caselli.divergence.critic import CriticDivergence


class LeastSquares(CriticDivergence):
    r"""The critic regresses 1 for data and 0 for generated samples, the generator 1.

    .. math:: \tfrac12 E (D(x) - 1)^2 + \tfrac12 E D(y)^2, \qquad \tfrac12 E (D(y) - 1)^2

    Source: Mao et al. 2017, Least Squares Generative Adversarial Networks.

    Example:
        >>> LeastSquares().critic_loss(Tensor([0.5]), Tensor([0.5]))
        tensor(0.2500)
    """

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return ((real - 1).square().mean() + fake.square().mean()) / 2

    def generator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return (fake - 1).square().mean() / 2
