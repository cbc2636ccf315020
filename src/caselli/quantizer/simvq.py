"""SimVQ: a frozen codebook seen through one learned linear map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from caselli.errors import UnknownName
from caselli.ops import nearest_code
from caselli.quantizer.base import widened
from caselli.quantizer.gradient import GRADIENTS
from caselli.quantizer.pointwise import Points, Pointwise
from caselli.quantizer.whitening import inverse_root, moments
from caselli.shapes import Float, Int, Tensor


class SimVQ(Pointwise):
    r"""Codes are fixed random vectors times one matrix, so that every step moves all of them: none dies.

    .. math::
        e_j = W c_j + b, \quad c_j \sim \mathcal N(0, I/d), \qquad k = \arg\min_j \lVert z - e_j \rVert

        L = w\,\lVert e_k - \mathrm{sg}(z) \rVert^2 + \beta\,\lVert \mathrm{sg}(e_k) - z \rVert^2

    With `fitted_start` the first training batch sets W to √d Σ^½ and b to μ, its covariance and mean, so that
    the codes lie where the latents do; else W is random and b zero.

    Arguments:
        width: D, the latents' width.
        codebook_size: K.
        code_width: width of the codes, None for `width`, which is what was published; otherwise learned
            projections lead in and out. Few channels keep more codes in use.
        gradient: how the decoder's gradient passes, `straight_through` or `rotation`.
        commitment: β, the weight of the encoder's term.
        codebook_weight: w, the weight of the codebook's term.
        fitted_start: true to put the codes where the first batch's latents are.

    Raises:
        UserError: for an unknown gradient, a width or size under 1.

    Source: Zhu et al. 2024, Addressing Representation Collapse in Vector Quantized Models with One Linear
    Layer; the offset b and the fitted start are ours.

    Example:
        >>> SimVQ(width=64).sizes
        (1024,)
    """

    def __init__(
        self,
        width: int,
        *,
        codebook_size: int = 1024,
        code_width: int | None = 8,
        gradient: str = "straight_through",
        commitment: float = 0.25,
        codebook_weight: float = 1.0,
        fitted_start: bool = True,
    ) -> None:
        super().__init__(width, codebook_size, width if code_width is None else code_width)
        if gradient not in GRADIENTS:
            raise UnknownName("gradient", gradient, GRADIENTS)
        self.pass_gradient = GRADIENTS[gradient]
        self.commitment, self.codebook_weight = commitment, codebook_weight
        self.register_buffer("frozen", torch.randn(codebook_size, self.code_width) * self.code_width**-0.5)
        self.codebook_map = nn.Linear(self.code_width, self.code_width, bias=False)
        self.codebook_offset = nn.Parameter(torch.zeros(self.code_width))
        self.register_buffer("started", torch.tensor(not fitted_start))
        self._knows_started = False

    def quantize_points(self, points: Float[Tensor, "n d"]) -> Points:
        if self.training:
            self._start(points.detach())
        codes = self.encode_points(points.detach())
        chosen = self.decode_points(codes)
        commitment = F.mse_loss(points, chosen.detach())
        return Points(
            latents=self.pass_gradient(points, chosen) if self.training else chosen,
            codes=codes,
            loss=self.commitment * commitment + self.codebook_weight * F.mse_loss(chosen, points.detach()),
            metrics={"commitment": commitment},
        )

    @torch.no_grad()
    def encode_points(self, points: Float[Tensor, "n d"]) -> Int[Tensor, "n"]:
        return nearest_code(points, self._values())

    def decode_points(self, codes: Int[Tensor, "n"]) -> Float[Tensor, "n d"]:
        return F.embedding(codes, self._values())

    def _values(self) -> Float[Tensor, "K d"]:
        return F.linear(
            widened(self.frozen), widened(self.codebook_map.weight), widened(self.codebook_offset)
        )

    @torch.no_grad()
    def _start(self, points: Tensor) -> None:
        """Puts the codes where the latents of the first batch are."""
        if not self._knows_started and not bool(self.started):
            mean, covariance = moments(points)
            self.codebook_map.weight.copy_(self.code_width**0.5 * covariance @ inverse_root(covariance))
            self.codebook_offset.copy_(mean)
            self.started.fill_(True)
        self._knows_started = True  # so that later steps need not ask the device

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._knows_started = False
