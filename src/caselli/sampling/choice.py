"""From logits to codes: guidance, temperature, truncation, and noise that is each sample's own."""

from __future__ import annotations

import math

import torch

from caselli.sampling.options import Sampling
from caselli.schedules import MASK_SCHEDULES
from caselli.shapes import Float, Int, Tensor


def guided(logits: Float[Tensor, "2B K"], strength: float | Float[Tensor, ""]) -> Float[Tensor, "B K"]:
    r"""Classifier-free guidance; the rows of the condition come first, then those of the null condition.

    .. math:: u + s\,(c - u)

    An entry that the slot does not allow stays at −∞.

    Source: Ho and Salimans 2022, Classifier-Free Diffusion Guidance.

    Example:
        >>> guided(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), 2.0)
        tensor([[2., 4.]])
    """
    condition, null = logits.chunk(2)
    return (null + strength * (condition - null)).masked_fill(condition.isneginf(), -torch.inf)


def probabilities(logits: Float[Tensor, "B K"], options: Sampling) -> Float[Tensor, "B K"]:
    """The distribution to draw from: temperature, then top-k, top-p and min-p, each on what is left.

    Example:
        >>> probabilities(torch.tensor([[2.0, 1.0, 0.0]]), Sampling(top_k=1))
        tensor([[1., 0., 0.]])
    """
    if options.temperature == 0:
        return torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
    if options.temperature != 1:
        logits = logits / options.temperature
    if 0 < options.top_k < logits.shape[-1]:
        least = logits.topk(options.top_k).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    p = logits.softmax(-1)
    if options.top_p < 1:
        ordered, index = p.sort(-1, descending=True)
        before = ordered.cumsum(-1) - ordered
        p = p.scatter(-1, index, ordered.masked_fill(before >= options.top_p, 0.0))
    if options.min_p > 0:
        p = p.masked_fill(p < options.min_p * p.amax(-1, keepdim=True), 0.0)
    return p / p.sum(-1, keepdim=True)


def inverse_transform(p: Float[Tensor, "*B K"], uniform: Float[Tensor, "*B"]) -> Int[Tensor, "*B"]:
    """The code at which the cumulated probability passes the uniform number: exact inversion.

    The sum is taken in float64, as one in float32 would miss codes whose probability is below its last digit.

    Example:
        >>> inverse_transform(torch.tensor([[0.5, 0.0, 0.5]]), torch.tensor([0.6]))
        tensor([2])
    """
    cumulated = p.double().cumsum(-1)
    target = uniform.double() * cumulated[..., -1]
    found = torch.searchsorted(cumulated, target[..., None].contiguous(), right=True)
    return found[..., 0].clamp_max(p.shape[-1] - 1)


def uniform_noise(seeds: list[int], length: int) -> Float[Tensor, "B T"]:
    """Uniform numbers of each sample's own seed: a sample does not depend on those beside it.

    Example:
        >>> uniform_noise([3, 4], 8)[0].equal(uniform_noise([3], 8)[0])
        True
    """
    rows = [torch.rand(length, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows)


def sureness(
    log_p: Float[Tensor, "B T"], uniform: Float[Tensor, "B T"], temperature: float
) -> Float[Tensor, "B T"]:
    """The logarithm of the probability with Gumbel noise of a temperature; at inf the noise alone.

    Example:
        >>> sureness(torch.tensor([[-1.0]]), torch.tensor([[0.5]]), 0.0)
        tensor([[-1.]])
    """
    gumbel = -torch.log(-torch.log(uniform))
    if temperature == 0:
        return log_p
    return gumbel if math.isinf(temperature) else log_p + temperature * gumbel


def still_masked(
    unknown: Int[Tensor, "B"], hidden: Int[Tensor, "B"], done: float, schedule: str
) -> Int[Tensor, "B"]:
    """Number of codes that stay masked: the schedule's share of all unknown ones, but fewer than now.

    Arguments:
        unknown: codes to be drawn in all rounds.
        hidden: codes that are still masked.
        done: share of the rounds that is done after this one.
        schedule: name in `MASK_SCHEDULES`.

    Example:
        >>> still_masked(torch.tensor([16, 3]), torch.tensor([16, 1]), 0.5, "cosine")
        tensor([11,  0])
    """
    if done == 1:
        return torch.zeros_like(hidden)
    share = MASK_SCHEDULES[schedule](torch.tensor(done, dtype=torch.float64)).item()
    wanted = (unknown * share + 1e-6).long().clamp_min(1)  # a product that is whole must not round down
    return torch.minimum(wanted, hidden - 1)
