"""Vector quantization: the nearest vector of a learned codebook."""

from __future__ import annotations

import torch.nn.functional as F

from caselli.errors import UnknownName
from caselli.ops import nearest_code
from caselli.quantizer.codebook import Codebook
from caselli.quantizer.entropy import EntropyTerm, entropies_of_scores
from caselli.quantizer.gradient import GRADIENTS
from caselli.quantizer.pointwise import Points, Pointwise
from caselli.shapes import Float, Int, Tensor


class VQ(Pointwise):
    r"""Each latent becomes the nearest of K learned vectors.

    .. math::
        k = \arg\min_j \lVert z - e_j \rVert, \qquad
        L = w\,\lVert e_k - \mathrm{sg}(z) \rVert^2 + \beta\,\lVert \mathrm{sg}(e_k) - z \rVert^2
            + v\,\bigl(\mathbb E\,H(p) - H(\mathbb E\,p)\bigr)

    as means over all numbers. The first term trains the codebook (absent with `update="ema"`), the second
    only the encoder; the third, with p = softmax(−|z − e|² / τ), wants each latent sure of its code and all
    codes in use.

    Arguments:
        width: D, the latents' width.
        codebook_size: K.
        code_width: width in which codes are compared and stored; when it is given and is not `width`, learned
            projections lead in and out (4 to 16 keep large codebooks in use).
        distance: `euclidean`, or `cosine`: latents and codes on the unit sphere.
        gradient: how the decoder's gradient passes, `straight_through` or `rotation`.
        update: `ema`, codes are moving averages of the latents that chose them, or `gradient`, codes are
            parameters.
        decay: γ of the moving averages, in [0, 1).
        warmup: steps in which the decay grows, as (1 + t) / (warmup + t); 0 for the constant decay.
        epsilon: added to the counts, so that no code is divided by zero.
        commitment: β, the weight of the encoder's term.
        codebook_weight: w, the weight of the codebook's term with `update="gradient"`. The loss of
            taming-transformers, which has β on the other term, is `commitment=1, codebook_weight=0.25`.
        entropy_weight: v; 0 for no such term. LlamaGen's recipe has 0.1.
        temperature: τ, above 0.
        restart_threshold: codes used less than this many times the average are put on latents of the current
            batch; 0 for never.
        kmeans_steps: steps of k-means on the first training batch; 0 starts from normal vectors.

    Raises:
        UserError: for an unknown name, a width or size under 1, a decay outside [0, 1), a temperature of 0 or
            less.

    Sources: van den Oord, Vinyals and Kavukcuoglu 2017, Neural Discrete Representation Learning; Yu et al.
    2022, Vector-quantized Image Modeling with Improved VQGAN (low-dimensional and cosine codes); Sun et al.
    2024, Autoregressive Model Beats Diffusion: Llama for Scalable Image Generation (the entropies' use).

    Example:
        >>> import torch
        >>> quantizer = VQ(width=64, codebook_size=512)
        >>> quantized = quantizer(torch.randn(8, 64, 4, 4))
        >>> quantized.codes.shape
        torch.Size([8, 4, 4])
        >>> quantizer.decode(quantized.codes).shape
        torch.Size([8, 64, 4, 4])
    """

    def __init__(
        self,
        width: int,
        *,
        codebook_size: int = 1024,
        code_width: int | None = None,
        distance: str = "euclidean",
        gradient: str = "straight_through",
        update: str = "ema",
        decay: float = 0.99,
        warmup: int = 10,
        epsilon: float = 1e-5,
        commitment: float = 0.25,
        codebook_weight: float = 1.0,
        entropy_weight: float = 0.0,
        temperature: float = 0.01,
        restart_threshold: float = 0.1,
        kmeans_steps: int = 10,
    ) -> None:
        super().__init__(width, codebook_size, width if code_width is None else code_width)
        if gradient not in GRADIENTS:
            raise UnknownName("gradient", gradient, GRADIENTS)
        self.pass_gradient = GRADIENTS[gradient]
        self.commitment, self.codebook_weight = commitment, codebook_weight
        self.entropy_term = EntropyTerm(entropy_weight, 1.0, temperature)
        self.codebook = Codebook(
            codebook_size,
            self.code_width,
            distance=distance,
            update=update,
            decay=decay,
            warmup=warmup,
            epsilon=epsilon,
            restart_threshold=restart_threshold,
            kmeans_steps=kmeans_steps,
        )

    def quantize_points(self, points: Float[Tensor, "n d"]) -> Points:
        z = self._placed(points)
        if self.training:
            self.codebook.prepare(z.detach())
        vectors = self.codebook.values()
        codes = nearest_code(z.detach(), vectors)
        chosen = F.embedding(codes, vectors)
        commitment = F.mse_loss(z, chosen.detach())
        loss = self.commitment * commitment
        if self.codebook.update == "gradient":
            loss = loss + self.codebook_weight * F.mse_loss(chosen, z.detach())
        if self.entropy_term.weight:
            loss = loss + self.entropy_term(*entropies_of_scores(z, vectors, self._scores, self.training))
        if self.training:
            self.codebook.learn(z.detach(), codes)
        return Points(
            latents=self.pass_gradient(z, chosen) if self.training else chosen,
            codes=codes,
            loss=loss,
            metrics={"commitment": commitment, "dead": self.codebook.dead().float().mean()},
        )

    def _scores(self, z: Float[Tensor, "n d"], vectors: Float[Tensor, "K d"]) -> Float[Tensor, "n K"]:
        """−|z − e|² / τ, up to a number of each latent's."""
        return (2 * z @ vectors.T - vectors.square().sum(1)) / self.entropy_term.temperature

    def encode_points(self, points: Float[Tensor, "n d"]) -> Int[Tensor, "n"]:
        return nearest_code(self._placed(points), self.codebook.values())

    def decode_points(self, codes: Int[Tensor, "n"]) -> Float[Tensor, "n d"]:
        return F.embedding(codes, self.codebook.values())

    def _placed(self, z: Tensor) -> Tensor:
        return F.normalize(z, dim=-1, eps=1e-6) if self.codebook.distance == "cosine" else z
