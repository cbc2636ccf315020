"""p(picture | decoder's output): the likelihoods, by name in `LIKELIHOODS`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from caselli.ops import HALF_LEVEL
from caselli.shapes import Float, Tensor


class Likelihood(nn.Module, ABC):
    """A distribution of every number of a picture, independent given the decoder's outputs.

    Outputs are `*n B (outputs·C) H W`, pictures `B C H W` in [−1, 1].
    """

    outputs: ClassVar[int] = 1
    """Numbers of the decoder for each number of a picture."""
    levels: ClassVar[int] = 256
    """Grey levels of the pictures that are modelled."""

    @abstractmethod
    def each(self, outputs: Tensor, pictures: Tensor) -> Tensor:
        """log p of every number, `*n B C H W`."""

    @abstractmethod
    def mean(self, outputs: Tensor) -> Tensor:
        """The mean picture, in [−1, 1]."""

    def log_prob(self, outputs: Tensor, pictures: Float[Tensor, "B C H W"]) -> Float[Tensor, "*n B"]:
        """log p of every picture, in nats."""
        return self.each(outputs.float(), pictures).flatten(-3).sum(-1)

    def prepared(self, pictures: Tensor) -> Tensor:
        """Pictures as `log_prob` must have them for the probability of their grey levels."""
        return pictures

    def levels_nats(self) -> float:
        """Nats subtracted from log p of every number for the probability of its grey level."""
        return 0.0


class GaussianLikelihood(Likelihood):
    r"""A normal density around the output, of one learned scale: :math:`N(x; \mu, \sigma^2)`.

    The scale is learned with the network, so that the squared error needs no weight. Probabilities of grey
    levels are bounded by the density at uniformly dequantised pictures.

    Source: Rybkin, Daniilidis and Levine 2021, Simple and Effective VAE Training with Calibrated Decoders;
    Theis, van den Oord and Bethge 2016, A Note on the Evaluation of Generative Models.

    Example:
        >>> GaussianLikelihood().log_prob(torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)).round(decimals=4)
        tensor([-0.9189], grad_fn=<RoundBackward1>)
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(()))

    def each(self, outputs: Tensor, pictures: Tensor) -> Tensor:
        log_scale = self.log_scale.clamp_min(math.log(HALF_LEVEL))
        squared = ((pictures - outputs) * (-log_scale).exp()).square()
        return -squared / 2 - log_scale - math.log(2 * math.pi) / 2

    def mean(self, outputs: Tensor) -> Tensor:
        return outputs.float().clamp(-1, 1)

    def prepared(self, pictures: Tensor) -> Tensor:
        return pictures + (2 * torch.rand_like(pictures) - 1) * HALF_LEVEL

    def levels_nats(self) -> float:
        return -math.log(2 * HALF_LEVEL)


class BernoulliLikelihood(Likelihood):
    r"""Pictures of two levels, cut at mid-grey, with the output as logit.

    Example:
        >>> BernoulliLikelihood().log_prob(torch.zeros(1, 1, 1, 2), torch.ones(1, 1, 1, 2)).exp()
        tensor([0.2500])
    """

    levels = 2

    def each(self, outputs: Tensor, pictures: Tensor) -> Tensor:
        return F.logsigmoid(torch.where(pictures > 0, outputs, -outputs))

    def mean(self, outputs: Tensor) -> Tensor:
        return 2 * outputs.float().sigmoid() - 1


class DiscretisedLogistic(Likelihood):
    r"""The probability of a grey level under a logistic with its own mean and scale for every number.

    .. math:: P(x) = \sigma\big((x + h - \mu)/s\big) - \sigma\big((x - h - \mu)/s\big), \quad h = 1/255

    The lowest and the highest level take the tails.

    Source: Kingma et al. 2016, Improved Variational Inference with Inverse Autoregressive Flow; Salimans et
    al. 2017, PixelCNN++.

    Example:
        >>> every = torch.arange(256.0).view(-1, 1, 1, 1) / 127.5 - 1
        >>> outputs = torch.tensor([0.3, -2.0]).view(1, 2, 1, 1).expand(256, 2, 1, 1)
        >>> DiscretisedLogistic().log_prob(outputs, every).exp().sum().round(decimals=5)
        tensor(1.)
    """

    outputs = 2

    def each(self, outputs: Tensor, pictures: Tensor) -> Tensor:
        mean, log_scale = outputs.chunk(2, -3)
        slope = (-log_scale.clamp(-7.0, 3.0)).exp()
        above = (pictures + HALF_LEVEL - mean) * slope
        below = (pictures - HALF_LEVEL - mean) * slope
        # log(σ(a) − σ(b)) = log σ(a) + log σ(−b) + log(1 − e^(b − a)), exact in both tails
        inside = F.logsigmoid(above) + F.logsigmoid(-below) + torch.log1p(-(below - above).exp())
        highest = torch.where(pictures > 1 - HALF_LEVEL, F.logsigmoid(-below), inside)
        return torch.where(pictures < HALF_LEVEL - 1, F.logsigmoid(above), highest)

    def mean(self, outputs: Tensor) -> Tensor:
        return outputs.float().chunk(2, -3)[0].clamp(-1, 1)


LIKELIHOODS: dict[str, type[Likelihood]] = {
    "gaussian": GaussianLikelihood,
    "bernoulli": BernoulliLikelihood,
    "discretised_logistic": DiscretisedLogistic,
}
"""The likelihoods by name."""
