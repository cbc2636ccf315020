"""Binary spherical quantization: signs of a latent on the unit sphere."""

from __future__ import annotations

import torch.nn.functional as F

from caselli.quantizer.binary import Binary
from caselli.quantizer.entropy import EntropyTerm
from caselli.shapes import Float, Tensor


class BSQ(Binary):
    r"""Each of d = log₂ K channels of a unit vector becomes its sign over √d, a unit vector again.

    .. math::
        u = z / \lVert z \rVert, \qquad q = \mathrm{sign}(u) / \sqrt d, \qquad
        L = w\,\bigl(\mathbb E\,H(p) - \gamma\,H(\mathbb E\,p)\bigr)
            + \beta\,\lVert u - \mathrm{sg}(q)\rVert^2

    with p = softmax(2 u·c / τ) over all codes c. The entropies are exact up to 2¹⁸ codes and beyond
    that taken over groups of 18 bits. The first channel is the most significant bit; zero counts as negative.

    Arguments:
        width: D; learned projections lead in and out when it is not log₂ K.
        codebook_size: K, a power of two.
        entropy_weight: w.
        diversity: γ, how much the use of all codes counts against each latent's certainty.
        temperature: τ.
        commitment: β; the sphere bounds the error, so 0 is enough.

    Raises:
        UserError: for a size that is no power of two, a temperature of 0 or less.

    Source: Zhao, Xiong and Krähenbühl 2024, Image and Video Tokenization with Binary Spherical Quantization.

    Example:
        >>> import torch
        >>> quantizer = BSQ(width=4, codebook_size=16)
        >>> quantizer.decode(quantizer.encode(torch.tensor([[0.1, -2.0, 3.0, 1.0]])))
        tensor([[ 0.5000, -0.5000,  0.5000,  0.5000]])
    """

    def __init__(
        self,
        width: int,
        *,
        codebook_size: int = 1024,
        entropy_weight: float = 0.01,
        diversity: float = 1.0,
        temperature: float = 0.01,
        commitment: float = 0.0,
    ) -> None:
        bits = max(1, codebook_size.bit_length() - 1)
        term = EntropyTerm(entropy_weight, diversity, temperature)
        super().__init__(width, codebook_size, bits**-0.5, term, commitment)

    def placed(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return F.normalize(z, dim=-1)
