"""Drawing sequences from a prior: one engine for every mixer, the state is the cache."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch

from caselli.errors import UserError
from caselli.prior.autoregressive import Autoregressive
from caselli.shapes import Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How a code is drawn from its distribution."""

    temperature: float = 1.0
    """Divides the logits; 0 takes the likeliest code."""
    top_k: int = 0
    """Draws from the k likeliest codes; 0 for all."""
    top_p: float = 1.0
    """Draws from the likeliest codes that together hold this probability."""

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise UserError(f"temperature {self.temperature} was given", "0 or more was expected")
        if self.top_k < 0:
            raise UserError(f"top-k {self.top_k} was given", "0 (all) or more was expected")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top-p {self.top_p} was given", "more than 0, at most 1 was expected")


def probabilities(logits: Float[Tensor, "B K"], options: Sampling) -> Float[Tensor, "B K"]:
    """What is drawn from: temperature first, then top-k, then top-p, renormalised.

    Example:
        >>> probabilities(torch.tensor([[2.0, 1.0, 0.0]]), Sampling(top_k=1))
        tensor([[1., 0., 0.]])
    """
    if options.temperature == 0:
        return torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
    logits = logits / options.temperature
    if 0 < options.top_k < logits.shape[-1]:
        least = logits.topk(options.top_k).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    p = logits.softmax(-1)
    if options.top_p < 1:
        ordered, index = p.sort(-1, descending=True)
        before = ordered.cumsum(-1) - ordered
        p = p.scatter(-1, index, ordered.masked_fill(before >= options.top_p, 0.0))
        p = p / p.sum(-1, keepdim=True)
    return p


def draw(p: Float[Tensor, "B K"], uniform: Float[Tensor, "B"]) -> Int[Tensor, "B"]:
    """The code at which the cumulated probability passes the uniform number: exact inversion.

    Example:
        >>> draw(torch.tensor([[0.5, 0.0, 0.5]]), torch.tensor([0.6]))
        tensor([2])
    """
    cumulated = p.double().cumsum(-1)
    target = uniform.double() * cumulated[:, -1]
    return torch.searchsorted(cumulated, target[:, None], right=True)[:, 0].clamp_max(p.shape[-1] - 1)


def noise(seeds: list[int], length: int) -> Float[Tensor, "B T"]:
    """Uniform numbers of each sample's own seed: a sample does not depend on those beside it."""
    rows = [torch.rand(length, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows)


@torch.no_grad()
def sample(
    prior: Autoregressive,
    condition: Int[Tensor, "B"] | None,
    seeds: list[int],
    options: Sampling = Sampling(),
    progress: Callable[[int], None] = lambda codes: None,
) -> Int[Tensor, "B T"]:
    """A sequence for each seed.

    Arguments:
        prior: the distribution, in evaluation mode.
        condition: a label for each sample, or None for the null label.
        seeds: one a sample; the same seed, label and options give the same sequence in any batch.
        options: temperature and truncation.
        progress: told the number of codes drawn at each step.
    """
    batch, length = len(seeds), prior.alphabet.length
    logits, state = prior.start(condition, batch)
    uniform = noise(seeds, length).to(logits.device)
    codes = torch.empty(batch, length, dtype=torch.int64, device=logits.device)
    for slot in range(length):
        entry = draw(probabilities(logits, options), uniform[:, slot])
        codes[:, slot] = entry - prior.offset[slot]
        progress(batch)
        if slot + 1 < length:
            logits, state = prior.step(codes[:, slot], state)
    return codes
