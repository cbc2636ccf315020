"""The non-saturating objective."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

from caselli.divergence.critic import CriticDivergence


class NonSaturating(CriticDivergence):
    r"""Cross entropy for the critic, with outputs as logits; the generator raises the log of its probability.

    .. math:: E\, \mathrm{softplus}(-D(x)) + E\, \mathrm{softplus}(D(y)), \qquad E\, \mathrm{softplus}(-D(y))

    The minimax form of the generator's loss is that of `f_gan` with `gan`.

    Source: Goodfellow et al. 2014, Generative Adversarial Nets.

    Example:
        >>> NonSaturating().generator_loss(Tensor([0.0]), Tensor([0.0]))
        tensor(0.6931)
    """

    def critic_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return softplus(-real).mean() + softplus(fake).mean()

    def generator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return softplus(-fake).mean()
