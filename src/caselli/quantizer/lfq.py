"""Lookup-free quantization: the sign of each channel."""

from __future__ import annotations

from caselli.quantizer.binary import Binary
from caselli.quantizer.entropy import EntropyTerm
from caselli.shapes import Float, Tensor


class LFQ(Binary):
    r"""Each of log₂ K channels becomes its sign.

    .. math::
        q = s\,\mathrm{sign}(z), \qquad
        L = w\,\bigl(\mathbb E\,H(p) - \gamma\,H(\mathbb E\,p)\bigr)
            + \beta\,\lVert z - \mathrm{sg}(q)\rVert^2

    with p = softmax(2 z·c / τ) over all codes c. The entropies are exact up to 2¹⁸ codes and beyond
    that taken over groups of 18 bits. The first channel is the most significant bit; zero counts as negative.

    Arguments:
        width: D; learned projections lead in and out when it is not log₂ K.
        codebook_size: K, a power of two.
        scale: s.
        entropy_weight: w.
        diversity: γ, how much the use of all codes counts against each latent's certainty.
        temperature: τ.
        commitment: β.
        codebooks: Q codebooks that the bits are shared out over, as a prior of `masked_places` takes them; 0
            for as few as can be.

    Raises:
        UserError: for a size that is no power of two, a temperature or scale of 0 or less.

    Source: Yu et al. 2023, Language Model Beats Diffusion: Tokenizer is Key to Visual Generation.

    Example:
        >>> import torch
        >>> LFQ(width=3, codebook_size=8).encode(torch.tensor([[0.1, -2.0, 3.0]]))
        tensor([5])
    """

    def __init__(
        self,
        width: int,
        *,
        codebook_size: int = 1024,
        scale: float = 1.0,
        entropy_weight: float = 0.1,
        diversity: float = 1.0,
        temperature: float = 0.01,
        commitment: float = 0.25,
        codebooks: int = 0,
    ) -> None:
        term = EntropyTerm(entropy_weight, diversity, temperature)
        super().__init__(width, codebook_size, scale, term, commitment, codebooks)

    def placed(self, z: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return z
