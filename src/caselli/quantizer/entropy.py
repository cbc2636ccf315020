"""Entropy terms: each latent sure of its code, all codes in use."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import torch
from torch.utils.checkpoint import checkpoint

from caselli import ranks
from caselli.errors import UserError
from caselli.shapes import Float, Tensor

CHUNK = 1 << 22
"""Scores alive at a time, 16 megabytes of float32."""


@dataclasses.dataclass(frozen=True)
class EntropyTerm:
    r"""w (𝔼 H(p) − γ H(𝔼 p)), with p at temperature τ: each latent sure of its code, all codes in use."""

    weight: float
    diversity: float
    temperature: float

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise UserError(f"temperature {self.temperature} was given", "a number above 0 was expected")

    def __call__(self, of_latents: Float[Tensor, ""], of_mean: Float[Tensor, ""]) -> Float[Tensor, ""]:
        return self.weight * (of_latents - self.diversity * of_mean)


class Entropic:
    """A quantizer whose entropy term can be given more weight while it is trained."""

    remedies = ("entropy",)
    entropy_term: EntropyTerm
    own_term: EntropyTerm
    """The entropy term as the quantizer was built with it."""

    def adjust(self, restart: float, entropy: float) -> None:
        """Counts the entropy term `entropy` times."""
        self.entropy_term = dataclasses.replace(self.own_term, weight=self.own_term.weight * entropy)


def entropy(probabilities: Float[Tensor, "... K"]) -> Float[Tensor, "..."]:
    """−Σ p log p in nats; zero probabilities count nothing and have finite gradients.

    Example:
        >>> entropy(torch.tensor([0.5, 0.5, 0.0])).exp()
        tensor(2.)
    """
    return -(probabilities * probabilities.clamp_min(1e-20).log()).sum(-1)


def over_ranks(mean: Tensor, together: bool) -> Tensor:
    """A mean over this rank's latents, as the mean over all ranks'; gradients reach this rank's share.

    Averaging the ranks' gradients, as distributed training does, then gives the joined batch's gradient.
    """
    return mean + (ranks.mean(mean.detach()) - mean.detach()) if together and ranks.count() > 1 else mean


def bit_entropies(
    probabilities: Float[Tensor, "n d"], group: int, together: bool
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    r"""The two entropies of codes of d independent bits: of each latent on average, and of the average.

    .. math:: \mathbb E_i\, H(p_i) = \mathbb E_i \sum_j H(p_{ij}), \qquad H(\mathbb E_i\, p_i)

    The average over all 2^d codes is one product of two halves: with A and B the probabilities of the first
    and the last bits' combinations, 𝔼 p = AᵀB / n. So nothing of size n × 2^d exists. More bits than `group`
    are taken in groups as if these were independent.

    Arguments:
        probabilities: of each bit being one.
        group: the most bits that are joined.
        together: true for an average over all ranks.

    Example:
        >>> sure, used = bit_entropies(torch.tensor([[0.0, 1.0], [1.0, 1.0]]), 18, False)
        >>> sure.item(), used.exp().item()
        (0.0, 2.0)
    """
    both = torch.stack((1 - probabilities, probabilities), -1)
    of_latents = entropy(both).sum(1).mean()
    of_mean = sum(
        entropy(over_ranks(_mean_over_codes(bits), together).flatten()) for bits in both.split(group, 1)
    )
    return of_latents, of_mean


def _mean_over_codes(bits: Float[Tensor, "n d 2"]) -> Float[Tensor, "a b"]:
    half = bits.shape[1] // 2
    return _combinations(bits[:, :half]).T @ _combinations(bits[:, half:]) / len(bits)


def _combinations(bits: Float[Tensor, "n d 2"]) -> Float[Tensor, "n c"]:
    """Probabilities of all 2^d values of d independent bits, the first bit the most significant."""
    joined = bits.new_ones(len(bits), 1)
    for bit in bits.unbind(1):
        joined = (joined[:, :, None] * bit[:, None, :]).flatten(1)
    return joined


def entropies_of_scores(
    points: Float[Tensor, "n d"],
    vectors: Float[Tensor, "K d"],
    score: Callable[[Tensor, Tensor], Tensor],
    together: bool,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The two entropies of p = softmax(score): of each latent on average, and of the average.

    Some latents at a time, each part computed again for the gradient: n × K scores never lie side by side.

    Arguments:
        points: latents.
        vectors: codes.
        score: `score(points, vectors)`, `n K`, over the temperature.
        together: true for an average over all ranks.

    Example:
        >>> eye = torch.eye(2)
        >>> sure, used = entropies_of_scores(eye, eye, lambda a, b: 1000 * a @ b.T, False)
        >>> sure.item(), used.exp().item()
        (0.0, 2.0)
    """

    def part(points: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        p = score(points, vectors).softmax(1)
        return entropy(p).sum(), p.sum(0)

    pieces = points.split(max(1, CHUNK // len(vectors)))
    if len(pieces) > 1:
        part = functools.partial(checkpoint, part, use_reentrant=False)
    entropies, sums = zip(*(part(piece, vectors) for piece in pieces), strict=True)
    mean = over_ranks(torch.stack(sums).sum(0) / len(points), together)
    return torch.stack(entropies).sum() / len(points), entropy(mean)
