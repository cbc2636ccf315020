"""f-divergences by a critic."""

from __future__ import annotations

from torch import Tensor

from caselli.divergence.critic import CriticDivergence
from caselli.divergence.f_divergence import F_FUNCTIONS
from caselli.divergence.regulariser import Regulariser
from caselli.errors import UnknownName


class FGAN(CriticDivergence):
    r"""The variational bound of an f-divergence.

    .. math:: D_f(P \| Q) = E_Q f(p/q) \ge E_P\, g_f(v(x)) - E_Q f^*(g_f(v(y)))

    The critic raises the bound, the generator lowers its second term. `jensen_shannon` is twice the JSD, and
    `gan`, the first GAN's objective, is 2 JSD − log 4. KL, Pearson and Jeffreys grow fast in v: keep steps
    small.

    Arguments:
        f: a name in `F_FUNCTIONS`: kl, reverse_kl, pearson, neyman, squared_hellinger, jensen_shannon, gan,
            jeffreys.
        regularisers: regularisers of the critic; by default none.

    Source: Nowozin, Cseke and Tomioka 2016, f-GAN: Training Generative Neural Samplers using Variational
    Divergence Minimization.

    Example:
        >>> FGAN("gan").critic_loss(Tensor([0.0]), Tensor([0.0]))  # log 4
        tensor(1.3863)
    """

    def __init__(self, f: str = "jensen_shannon", *regularisers: Regulariser) -> None:
        super().__init__(*regularisers)
        if f not in F_FUNCTIONS:
            raise UnknownName("f", f, F_FUNCTIONS)
        self.function = F_FUNCTIONS[f]

    def bound(self, real: Tensor, fake: Tensor) -> Tensor:
        """The lower bound of the divergence that these outputs give."""
        return self.function.output(real).mean() - self.function.conjugate_of_output(fake).mean()

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return -self.bound(real, fake)

    def generator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return -self.function.conjugate_of_output(fake).mean()
