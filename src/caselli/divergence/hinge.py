"""The hinge objective."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import relu

from caselli.divergence.critic import CriticDivergence


class Hinge(CriticDivergence):
    r"""The critic keeps a margin, the generator raises its output.

    .. math:: E\, \mathrm{relu}(1 - D(x)) + E\, \mathrm{relu}(1 + D(y)), \qquad -E D(y)

    At the best critic the generator sees the total variation distance.

    Sources: Lim and Ye 2017, Geometric GAN; Tran, Ranganath and Blei 2017.

    Example:
        >>> Hinge().critic_loss(Tensor([0.0]), Tensor([0.0]))
        tensor(2.)
    """

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return relu(1 - real).mean() + relu(1 + fake).mean()

    def generator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return -fake.mean()
