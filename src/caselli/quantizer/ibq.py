"""Index back-propagation quantization: the choice of a code is differentiable for the whole codebook."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from caselli.ops import largest_product
from caselli.quantizer.base import widened
from caselli.quantizer.entropy import CHUNK, Entropic, EntropyTerm, entropy, over_ranks
from caselli.quantizer.pointwise import Points, Pointwise
from caselli.shapes import Float, Int, Tensor


class IBQ(Entropic, Pointwise):
    r"""Each latent becomes the code with the largest product; gradients pass through the softmax over all.

    .. math::
        p = \mathrm{softmax}(E z), \quad k = \arg\max_j z \cdot e_j, \qquad
        q = E^\top\big(\mathrm{onehot}(k) + p - \mathrm{sg}(p)\big)

        L = \lVert q - z \rVert^2 + \beta\,\lVert \mathrm{sg}(e_k) - z \rVert^2
            + w\,\lVert e_k - \mathrm{sg}(z) \rVert^2
            + v\,\bigl(\mathbb E\,H(p^\tau) - \gamma\,H(\mathbb E\,p^\tau)\bigr)

    with p^τ = softmax(E z / τ). The scores are computed again in the backward pass, a part of the latents at
    a time, so that memory does not grow with n × K.

    Arguments:
        width: D, the latents' width.
        codebook_size: K.
        code_width: width of the codes; learned projections lead in and out when it is not `width`.
        commitment: β, the weight of the encoder's term.
        codebook_weight: w, the weight of the codebook's term.
        entropy_weight: v.
        diversity: γ, how much the use of all codes counts against each latent's certainty.
        temperature: τ of the entropies, above 0.

    Raises:
        UserError: for a temperature of 0 or less, a width or size under 1.

    Source: Shi et al. 2024, Scalable Image Tokenization with Index Backpropagation Quantization.

    Example:
        >>> IBQ(width=64).sizes
        (1024,)
    """

    def __init__(
        self,
        width: int,
        *,
        codebook_size: int = 1024,
        code_width: int | None = None,
        commitment: float = 1.0,
        codebook_weight: float = 0.25,
        entropy_weight: float = 0.05,
        diversity: float = 1.0,
        temperature: float = 0.01,
    ) -> None:
        super().__init__(width, codebook_size, width if code_width is None else code_width)
        self.commitment, self.codebook_weight = commitment, codebook_weight
        self.entropy_term = self.own_term = EntropyTerm(entropy_weight, diversity, temperature)
        self.codebook = nn.Parameter(torch.randn(codebook_size, self.code_width) * self.code_width**-0.5)

    def quantize_points(self, points: Float[Tensor, "n d"]) -> Points:
        vectors = widened(self.codebook)
        codes = largest_product(points.detach(), vectors)
        chosen = F.embedding(codes, vectors)
        soft, of_latents, of_mean = self._relaxed(points, vectors)
        quantized = chosen + (soft - soft.detach())
        commitment = F.mse_loss(points, chosen.detach())
        loss = (
            F.mse_loss(quantized, points)
            + self.commitment * commitment
            + self.codebook_weight * F.mse_loss(chosen, points.detach())
            + self.entropy_term(of_latents, of_mean)
        )
        metrics = {"commitment": commitment, "sample_entropy": of_latents, "codebook_entropy": of_mean}
        return Points(quantized, codes, loss, metrics)

    def encode_points(self, points: Float[Tensor, "n d"]) -> Int[Tensor, "n"]:
        return largest_product(points, widened(self.codebook))

    def decode_points(self, codes: Int[Tensor, "n"]) -> Float[Tensor, "n d"]:
        return F.embedding(codes, widened(self.codebook))

    def _relaxed(self, points: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The softmax's mean vector of each latent, the mean entropy, the entropy of the mean."""
        pieces = points.split(max(1, CHUNK // len(vectors)))
        relax = self._relaxed_part
        if len(pieces) > 1:
            relax = functools.partial(checkpoint, self._relaxed_part, use_reentrant=False)
        soft, entropies, sums = zip(*(relax(piece, vectors) for piece in pieces), strict=True)
        mean = over_ranks(torch.stack(sums).sum(0) / len(points), self.training)
        return torch.cat(soft), torch.stack(entropies).sum() / len(points), entropy(mean)

    def _relaxed_part(self, points: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores = points @ vectors.T
        sharp = (scores / self.entropy_term.temperature).softmax(1)
        return scores.softmax(1) @ vectors.detach(), entropy(sharp).sum(), sharp.sum(0)
