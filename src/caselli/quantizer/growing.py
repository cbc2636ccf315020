"""A codebook that grows along the sequence: the first codes of a picture are chosen from few."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from caselli.errors import UserError, lookup
from caselli.ops import full_precision, nearest_code
from caselli.order import ORDERS, Grid
from caselli.quantizer.base import Quantized, unrows, usage
from caselli.quantizer.codebook import Codebook
from caselli.quantizer.gradient import GRADIENTS
from caselli.quantizer.pointwise import Projected
from caselli.shapes import Float, Int, Num, Tensor


class Growing(Projected):
    r"""Each latent becomes the nearest of the first K_t of K learned vectors; K_t grows along the sequence.

    .. math::
        k_t = \arg\min_{j < K_t} \lVert z_t - e_j \rVert, \qquad
        K_t = \min\bigl(K,\; K_1\, 2^{\lfloor \frac{t - 1}{T - 1} \log_2 (K / K_1) \rfloor}\bigr), \qquad
        K_T = K

    A set of N pictures is told apart by its first log₂ N bits, and behind these a prior can only memorise.
    With few codes at the beginning that point comes later, so that more of the sequence can be learned.

    Arguments:
        width: D, the latents' width.
        codebook_size: K.
        first: K₁, codes at the first position.
        order: path of the growth over a grid, a name in `caselli.order.ORDERS`: that of the prior. Codes on
            one axis grow along it.
        code_width: width in which codes are compared and stored, with learned projections; by default D.
        gradient: how the decoder's gradient passes, `straight_through` or `rotation`.
        decay: γ of the codes' moving averages, in [0, 1).
        commitment: β, weight of the encoder's term.
        restart_threshold: codes used less than this many times the average are put on latents of the current
            batch; 0 for never.
        kmeans_steps: steps of k-means on the first training batch.

    Raises:
        UserError: for an unknown name, or a first size that is not from 1 to K.

    Source: VCQ 2026 (arXiv 2605.06207), codebooks that grow along the sequence; the steps by powers of two
    are ours.

    Example:
        >>> Growing(width=4, codebook_size=8).code_limits((2, 3))
        tensor([[2, 2, 2],
                [4, 4, 8]])
    """

    def __init__(
        self,
        width: int,
        *,
        codebook_size: int = 1024,
        first: int = 2,
        order: str = "raster",
        code_width: int | None = None,
        gradient: str = "straight_through",
        decay: float = 0.99,
        commitment: float = 0.25,
        restart_threshold: float = 0.1,
        kmeans_steps: int = 10,
    ) -> None:
        if not 1 <= first <= codebook_size:
            raise UserError(f"first {first} was given", f"1 to {codebook_size}, codebook_size, was expected")
        super().__init__(width, codebook_size, width if code_width is None else code_width)
        self.first, self.order = first, lookup(ORDERS, "order", order)()
        self.pass_gradient = GRADIENTS[lookup({n: n for n in GRADIENTS}, "gradient", gradient)]
        self.commitment = commitment
        self.codebook = Codebook(
            codebook_size,
            self.code_width,
            distance="euclidean",
            update="ema",
            decay=decay,
            warmup=10,
            epsilon=1e-5,
            restart_threshold=restart_threshold,
            kmeans_steps=kmeans_steps,
        )

    def code_limits(self, space: tuple[int, ...]) -> Int[Tensor, "*S"]:
        size, length = self.sizes[0], math.prod(space)
        share = torch.arange(length, dtype=torch.float64) / max(1, length - 1)
        doublings = (share * math.log2(size / self.first) + 1e-9).floor().long()
        limits = (self.first * 2**doublings).clamp_max(size)
        limits[-1] = size
        if len(space) == 2:
            return self.order.restore(limits[None], Grid(*space))[0]
        return limits.view(space)

    def forward(self, latents: Float[Tensor, "B D *S"]) -> Quantized:
        self.check_latents(latents)
        batch, space = latents.shape[0], tuple(latents.shape[2:])
        with full_precision(latents):
            z = self.into(latents)
            if self.training:
                self.codebook.prepare(z.detach())
            vectors = self.codebook.values()
            codes = self._nearest(z.detach(), vectors, space)
            chosen = F.embedding(codes, vectors)
            commitment = F.mse_loss(z, chosen.detach())
            if self.training:
                self.codebook.learn(z.detach(), codes)
                chosen = self.pass_gradient(z, chosen)
            metrics = usage(codes, self.sizes[0], together=self.training)
        return Quantized(
            latents=unrows(self.out(chosen), batch, space).to(latents.dtype),
            codes=self.in_space(codes, batch, space),
            loss=self.commitment * commitment,
            metrics=metrics
            | {"commitment": commitment.detach(), "dead": self.codebook.dead().float().mean()},
        )

    def encode(self, latents: Float[Tensor, "B D *S"]) -> Int[Tensor, "B ..."]:
        self.check_latents(latents)
        batch, space = latents.shape[0], tuple(latents.shape[2:])
        with full_precision(latents):
            codes = self._nearest(self.into(latents), self.codebook.values(), space)
        return self.in_space(codes, batch, space)

    def decode(self, codes: Num[Tensor, "B ..."]) -> Float[Tensor, "B D ..."]:
        self.check_codes(codes)
        with full_precision(codes):
            points = self.out(F.embedding(codes.flatten(), self.codebook.values()))
        return unrows(points, codes.shape[0], tuple(codes.shape[1:]))

    def _nearest(
        self, z: Float[Tensor, "n d"], vectors: Float[Tensor, "K d"], space: tuple[int, ...]
    ) -> Int[Tensor, "n"]:
        """Nearest of the first codes that each position may have."""
        limits = self.code_limits(space).flatten()
        codes = torch.zeros(len(z), dtype=torch.int64, device=z.device).view(-1, len(limits))
        z = z.unflatten(0, (-1, len(limits)))
        for limit in limits.unique().tolist():
            own = (limits == limit).nonzero()[:, 0].to(z.device)
            found = nearest_code(z[:, own].flatten(0, 1), vectors[:limit])
            codes[:, own] = found.view(-1, len(own))
        return codes.flatten()
