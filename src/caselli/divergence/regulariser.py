"""Regularisers that keep a critic smooth: penalties, clipping, spectral normalisation."""

from __future__ import annotations

from abc import ABC

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized

from caselli.errors import UserError


class Regulariser(ABC):  # noqa: B024 - each method has a neutral default, and a regulariser fills one
    """One way to keep a critic smooth; a method that is not filled in does nothing."""

    def prepare(self, critic: nn.Module) -> nn.Module:
        """The critic to train; called once."""
        return critic

    def penalty(self, critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        """A term of the critic's loss."""
        return real.new_zeros(())

    def constrain(self, critic: nn.Module) -> None:  # noqa: B027
        """Changes the weights in place; called after every step of the critic."""


class GradientPenalty(Regulariser):
    r"""Slopes near one between data and generated samples.

    .. math:: λ\, E (\|\nabla D(\hat x)\| - 1)^2, \quad \hat x = u x + (1 - u) y

    Safe where the slope is exactly zero, where the norm itself has no gradient.

    Arguments:
        weight: λ.

    Source: Gulrajani et al. 2017, Improved Training of Wasserstein GANs.
    """

    def __init__(self, weight: float = 10.0) -> None:
        self.weight = weight

    def penalty(self, critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        """The term, at one random point between each pair."""
        paired(real, fake)
        u = torch.rand(len(real), *[1] * (real.ndim - 1), dtype=real.dtype, device=real.device)
        square = squared_slopes(critic, fake + u * (real - fake))
        norm = square.clamp_min(torch.finfo(square.dtype).tiny).sqrt()
        return self.weight * (norm - 1).square().mean()


class R1(Regulariser):
    r"""Small slopes at the data: :math:`\tfrac γ2 E \|\nabla D(x)\|^2`.

    Arguments:
        weight: γ.

    Source: Mescheder, Geiger and Nowozin 2018, Which Training Methods for GANs do actually Converge?
    """

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight

    def penalty(self, critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        """The term at the data."""
        return self.weight / 2 * squared_slopes(critic, real).mean()


class R2(Regulariser):
    r"""Small slopes at the generated samples: :math:`\tfrac γ2 E \|\nabla D(y)\|^2`.

    Arguments:
        weight: γ.

    Source: Mescheder, Geiger and Nowozin 2018, Which Training Methods for GANs do actually Converge?
    """

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight

    def penalty(self, critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        """The term at the generated samples."""
        return self.weight / 2 * squared_slopes(critic, fake).mean()


class WeightClipping(Regulariser):
    """Every weight within [-bound, bound].

    Arguments:
        bound: positive.

    Source: Arjovsky, Chintala and Bottou 2017, Wasserstein GAN.
    """

    def __init__(self, bound: float = 0.01) -> None:
        if not bound > 0:
            raise UserError(f"bound {bound} was given", "a positive number was expected")
        self.bound = bound

    @torch.no_grad()
    def constrain(self, critic: nn.Module) -> None:
        """Clips in place."""
        for weight in critic.parameters():
            weight.clamp_(-self.bound, self.bound)


class SpectralNorm(Regulariser):
    """Every linear and convolutional weight divided by its largest singular value.

    Arguments:
        iterations: iterations of the power method at each forward pass in training.

    Source: Miyato et al. 2018, Spectral Normalization for Generative Adversarial Networks.
    """

    LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)

    def __init__(self, iterations: int = 1) -> None:
        self.iterations = iterations

    def prepare(self, critic: nn.Module) -> nn.Module:
        """Parametrises the critic's layers in place; those that already are stay as they are."""
        for layer in critic.modules():
            if isinstance(layer, self.LAYERS) and not is_parametrized(layer, "weight"):
                spectral_norm(layer, n_power_iterations=self.iterations)
        return critic


def squared_slopes(critic: nn.Module, x: Tensor) -> Tensor:
    """‖∇D‖² at each sample, on the graph of the critic's weights: `n`.

    Example:
        >>> squared_slopes(lambda x: 3 * x, torch.zeros(2, 1)).detach()
        tensor([9., 9.])
    """
    with torch.enable_grad():
        point = x.detach().requires_grad_()
        slope = torch.autograd.grad(critic(point).sum(), point, create_graph=True)[0]
    return slope.flatten(1).square().sum(1)


def paired(real: Tensor, fake: Tensor) -> None:
    """A `UserError` where the two sides cannot be taken in pairs."""
    if real.shape != fake.shape:
        raise UserError(
            f"shapes {tuple(real.shape)} for data and {tuple(fake.shape)} for generated samples were given",
            "equal ones were expected, because they are taken in pairs",
        )
