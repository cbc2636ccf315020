"""The common part of quantizers to signs: each channel one bit, no stored codebook, entropy terms."""

from __future__ import annotations

from abc import abstractmethod

import torch
import torch.nn.functional as F

from caselli.errors import UserError
from caselli.estimator import pass_straight_through
from caselli.quantizer.base import widened
from caselli.quantizer.entropy import Entropic, EntropyTerm, bit_entropies
from caselli.quantizer.pointwise import Points, Pointwise
from caselli.shapes import Float, Int, Tensor

MOST_CODE_BITS = 62
"""Bits that a code may have, an int64 whose negative values mark what is not known."""
MOST_BITS = 18
"""Bits whose joint use is counted: a table of 2^18 mean probabilities."""


class Binary(Entropic, Pointwise):
    r"""Each of log₂ K channels becomes +s or −s; the first channel is the most significant bit of the code.

    More than 62 bits are several codebooks of equally many bits each, `B Q *S`, the first channels first:
    K = 2⁶⁴ has `sizes` (2³², 2³²). So are fewer bits where several codebooks are asked for.

    .. math::
        L = w\,\bigl(\mathbb E\,H(p) - \gamma\,H(\mathbb E\,p)\bigr)
            + \beta\,\lVert z - \mathrm{sg}(q)\rVert^2, \qquad p_j = \sigma(4 s z_j / \tau)

    where p is the softmax of 2 z·c / τ over all codes c, which factorises over the bits.
    """

    def __init__(
        self,
        width: int,
        codebook_size: int,
        magnitude: float,
        term: EntropyTerm,
        commitment: float,
        codebooks: int = 0,
    ) -> None:
        bits = codebook_size.bit_length() - 1
        books = max(1, codebooks, -(-bits // MOST_CODE_BITS))
        if codebook_size < 2 or codebook_size != 1 << bits or bits % books:
            raise UserError(
                f"codebook_size {codebook_size} of {books} codebooks was given"
                if books > 1
                else f"codebook_size {codebook_size} was given",
                f"a power of two from 2 on was expected, above 2**{MOST_CODE_BITS} one of equal parts",
                "take 2**64 or 2**128",
            )
        if magnitude <= 0:
            raise UserError(f"scale {magnitude} was given", "a number above 0 was expected")
        own = bits // books
        super().__init__(width, (1 << own,) * books, bits)
        self.digits = (2,) * own
        self.entropy_term = self.own_term = term
        self.commitment = commitment
        self.magnitude = magnitude
        self.register_buffer("_one", torch.ones(()), persistent=False)  # knows the module's dtype
        self.register_buffer("_basis", 2 ** torch.arange(own - 1, -1, -1), persistent=False)

    @abstractmethod
    def placed(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Where the latents lie before their signs are taken."""

    def quantize_points(self, points: Float[Tensor, "n d"]) -> Points:
        z = self.placed(points)
        signs = self.magnitude * torch.where(z > 0, 1, -1).to(z.dtype)
        p = torch.sigmoid(4 * self.magnitude * z / self.entropy_term.temperature)
        of_latents, of_mean = bit_entropies(p, MOST_BITS, self.training)
        commitment = F.mse_loss(z, signs)
        loss = self.entropy_term(of_latents, of_mean) + self.commitment * commitment
        return Points(
            latents=pass_straight_through(z, signs) if self.training else signs,
            codes=self._joined(z),
            loss=loss,
            metrics={"commitment": commitment, "sample_entropy": of_latents, "codebook_entropy": of_mean},
        )

    def encode_points(self, points: Float[Tensor, "n d"]) -> Int[Tensor, "n ..."]:
        return self._joined(self.placed(points))

    def decode_points(self, codes: Int[Tensor, "n ..."]) -> Float[Tensor, "n d"]:
        ones = widened(self._one)
        bits = torch.where((codes[..., None] & self._basis) > 0, ones, -ones)
        return self.magnitude * bits.flatten(1)

    def _joined(self, z: Float[Tensor, "n d"]) -> Int[Tensor, "n ..."]:
        codes = ((z > 0).unflatten(1, (len(self.sizes), -1)) * self._basis).sum(2)
        return codes if len(self.sizes) > 1 else codes[:, 0]
