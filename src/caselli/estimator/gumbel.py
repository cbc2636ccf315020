"""Gumbel-max, Gumbel-Softmax and its straight-through form as functions of logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from caselli.estimator.relaxation import bounded, log_exponential, pass_straight_through, positive_temperature
from caselli.shapes import Float, Int, Tensor


def sample_gumbel_max(logits: Float[Tensor, "... K"]) -> Int[Tensor, "..."]:
    r"""A sample of a categorical distribution as the argmax of perturbed logits.

    .. math:: z = \arg\max_k (\theta_k + G_k), \quad G_k = -\log E_k, \; E_k \sim \mathrm{Exp}(1)

    Arguments:
        logits: θ; infinite ones mean their limit: -inf never, +inf always (equally often where several are).

    Sources: Gumbel 1954; Yellott 1977; Maddison, Tarlow and Minka 2014, A* Sampling.

    Example:
        >>> sample_gumbel_max(torch.tensor([[0.0, float("inf"), 1.0], [0.0, -float("inf"), -float("inf")]]))
        tensor([1, 0])
    """
    return _perturbed(logits).argmax(-1)


def sample_gumbel_softmax(logits: Float[Tensor, "... K"], temperature: float = 1.0) -> Float[Tensor, "... K"]:
    r"""A point of the simplex near a one-hot sample, differentiable in the logits.

    .. math:: y = \mathrm{softmax}((\theta + G) / \tau)

    Arguments:
        logits: θ; infinite ones mean their limit.
        temperature: τ > 0; a `UserError` otherwise.

    Sources: Jang, Gu and Poole 2017, Categorical Reparameterization with Gumbel-Softmax; Maddison, Mnih and
    Teh 2017, The Concrete Distribution.

    Example:
        >>> sample_gumbel_softmax(torch.tensor([0.0, float("inf"), 1.0]), 0.5)
        tensor([0., 1., 0.])
    """
    soft = torch.softmax(_perturbed(logits) / positive_temperature(temperature), -1)
    return soft.to(logits.dtype)


def sample_straight_through_gumbel(
    logits: Float[Tensor, "... K"], temperature: float = 1.0
) -> Float[Tensor, "... K"]:
    """An exactly one-hot sample with the gradient of `sample_gumbel_softmax`.

    Arguments:
        logits: θ; infinite ones mean their limit.
        temperature: τ > 0; a `UserError` otherwise.

    Source: Jang, Gu and Poole 2017, Categorical Reparameterization with Gumbel-Softmax.

    Example:
        >>> sample_straight_through_gumbel(torch.tensor([0.0, float("inf"), 1.0]), 0.5)
        tensor([0., 1., 0.])
    """
    soft = sample_gumbel_softmax(logits, temperature)
    hard = F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype)
    return pass_straight_through(soft, hard)


def _perturbed(logits: Tensor) -> Tensor:
    finite = bounded(logits)
    return torch.log_softmax(finite, -1) - log_exponential(finite, finite.shape)
