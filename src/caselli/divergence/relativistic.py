"""The relativistic pairing objective."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

from caselli.divergence.critic import CriticDivergence
from caselli.divergence.regulariser import R1, R2, Regulariser, paired


class Relativistic(CriticDivergence):
    r"""The critic judges pairs: data above the generated sample, and for the generator the reverse.

    .. math:: E\, \mathrm{softplus}(-(D(x) - D(y))), \qquad E\, \mathrm{softplus}(-(D(y) - D(x)))

    With R1 and R2 of weight 1 by default, the objective converges locally (R3GAN).

    Arguments:
        regularisers: in place of R1 and R2.

    Sources: Jolicoeur-Martineau 2019, The Relativistic Discriminator; Huang et al. 2024, The GAN is Dead;
    Long Live the GAN! A Modern GAN Baseline.

    Example:
        >>> Relativistic().critic_loss(Tensor([1.0]), Tensor([1.0]))
        tensor(0.6931)
    """

    @staticmethod
    def default_regularisers() -> tuple[Regulariser, ...]:
        """R1 and R2 of weight 1."""
        return (R1(), R2())

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        paired(real, fake)
        return softplus(fake - real).mean()

    def generator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        paired(real, fake)
        return softplus(real - fake).mean()
