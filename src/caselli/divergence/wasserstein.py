"""The Wasserstein distance by a critic."""

from __future__ import annotations

from torch import Tensor

from caselli.divergence.critic import CriticDivergence
from caselli.divergence.regulariser import GradientPenalty, Regulariser


class Wasserstein(CriticDivergence):
    r"""W1 by a critic with slopes of at most one (Kantorovich-Rubinstein).

    .. math:: W_1(P, Q) = \sup_{\|D\|_{Lip} \le 1} E_P D(x) - E_Q D(y)

    The constraint is a regulariser: `GradientPenalty` (the default, 10), `WeightClipping` or `SpectralNorm`.

    Arguments:
        regularisers: the constraint.

    Sources: Arjovsky, Chintala and Bottou 2017, Wasserstein GAN; Gulrajani et al. 2017, Improved Training of
    Wasserstein GANs.

    Example:
        >>> Wasserstein().critic_loss(Tensor([2.0]), Tensor([0.5]))
        tensor(-1.5000)
    """

    @staticmethod
    def default_regularisers() -> tuple[Regulariser, ...]:
        """The gradient penalty of weight 10."""
        return (GradientPenalty(10.0),)

    def bound(self, real: Tensor, fake: Tensor) -> Tensor:
        """The lower bound of W1, if the critic keeps its constraint."""
        return real.mean() - fake.mean()

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake.mean() - real.mean()

    def generator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return -fake.mean()
