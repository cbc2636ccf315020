"""Bounds of a likelihood from both sides, for priors that know it order by order alone."""

from __future__ import annotations

import dataclasses
import math

import torch

from caselli.errors import UserError
from caselli.shapes import Float, Tensor


@dataclasses.dataclass(frozen=True)
class Bracket:
    """Estimates of bounds of log p of sequences, in nats; their means over many lie on both sides of it."""

    below: Float[Tensor, "B"]
    above: Float[Tensor, "B"]


def tangent_bracket(log_p: Float[Tensor, "S B"]) -> Bracket:
    r"""Bounds of log E_σ p_σ(x) from the log-probabilities of S random orders σ.

    .. math::
        \mathbb E \log \frac1S \sum_s p_{\sigma_s}(x) \le \log p(x) \le
        \mathbb E \Big[\log \psi_s + \frac{p_{\sigma_s}(x)}{\psi_s} - 1\Big]

    from below by several samples, from above by the tangent of the logarithm at ψ, tight where ψ = p(x). ψ_s
    is made of the other orders alone, so that the estimate is unbiased: their mean, or that of a log-normal
    distribution with their moments, whichever is larger, as too small a ψ costs exponentially more.

    Errors: `UserError` for fewer than three orders.

    Sources: Burda et al. 2015, Importance Weighted Autoencoders; Ivanov et al. 2026, TUBE: Tangent Upper
    Bound on Evidence for Discrete Diffusion Language Models.

    Example:
        >>> tangent_bracket(torch.full((4, 1), -2.0))
        Bracket(below=tensor([-2.]), above=tensor([-2.]))
    """
    count = len(log_p)
    if count < 3:
        raise UserError(f"{count} orders were given", "at least 3 were expected for bounds from both sides")
    below = log_p.logsumexp(0) - math.log(count)
    terms = []
    for number in range(count):
        others = torch.cat((log_p[:number], log_p[number + 1 :]))
        mean = others.logsumexp(0) - math.log(count - 1)
        psi = torch.maximum(mean, others.mean(0) + others.var(0) / 2)
        terms.append(psi + (log_p[number] - psi).exp() - 1)
    return Bracket(below, torch.stack(terms).mean(0))
