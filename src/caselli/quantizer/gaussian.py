"""The continuous bottleneck of latent diffusion: a Gaussian with a Kullback-Leibler term."""

from __future__ import annotations

import torch
from torch import nn

from caselli.errors import UserError
from caselli.ops import full_precision
from caselli.quantizer.base import Quantized, Quantizer, linear, rows, unrows, widened
from caselli.shapes import Float, Num, Tensor


class Gaussian(Quantizer):
    r"""Each latent gives a mean and a variance; a sample goes to the decoder.

    .. math::
        z = \mu + e^{\frac12 \ell}\,\epsilon, \qquad
        L = \lambda \cdot \tfrac12 \sum_{\text{channels}} (\mu^2 + e^\ell - 1 - \ell)

    with the sum averaged over positions, ℓ in [−30, 20]. In evaluation mode z = μ. Continuous: it has no
    codebook, `sizes` is empty, and its "codes" are the float means, `B d *S`.

    Arguments:
        width: D, the latents' width.
        code_width: d, channels of the bottleneck; learned projections lead in (to 2d) and out. By default D.
        kl_weight: λ.

    Raises:
        UserError: for a width under 1.

    Sources: Kingma and Welling 2013, Auto-Encoding Variational Bayes; Rombach et al. 2021, High-Resolution
    Image Synthesis with Latent Diffusion Models.

    Example:
        >>> import torch
        >>> quantizer = Gaussian(width=8, code_width=4).eval()
        >>> codes = quantizer.encode(torch.zeros(1, 8, 3))
        >>> codes.shape, quantizer.decode(codes).shape
        (torch.Size([1, 4, 3]), torch.Size([1, 8, 3]))
    """

    def __init__(self, width: int, *, code_width: int | None = None, kl_weight: float = 1e-6) -> None:
        code_width = width if code_width is None else code_width
        if min(width, code_width) < 1:
            raise UserError(f"width {width}, code_width {code_width} were given", "at least 1 was expected")
        super().__init__(width, ())
        self.code_width, self.kl_weight = code_width, kl_weight
        self.project_in = nn.Linear(width, 2 * code_width)
        self.project_out = nn.Linear(code_width, width)

    def forward(self, latents: Float[Tensor, "B D *S"]) -> Quantized:
        mean, log_variance = self._moments(latents)
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
        codes = mean
        if self.training:
            codes = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        return Quantized(
            latents=self.decode(codes).to(latents.dtype),
            codes=codes.detach(),
            loss=self.kl_weight * kl,
            metrics={"kl": kl.detach()},
        )

    def encode(self, latents: Float[Tensor, "B D *S"]) -> Num[Tensor, "B ..."]:
        return self._moments(latents)[0].detach()

    def decode(self, codes: Num[Tensor, "B ..."]) -> Float[Tensor, "B D ..."]:
        if codes.dim() < 2 or codes.shape[1] != self.code_width:
            raise UserError(
                f"codes of shape {tuple(codes.shape)} were given",
                f"B d *S with d = {self.code_width} was expected",
            )
        with full_precision(codes):
            points = linear(self.project_out, widened(rows(codes)))
        return unrows(points, codes.shape[0], tuple(codes.shape[2:]))

    def _moments(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        self.check_latents(latents)
        with full_precision(latents):
            points = linear(self.project_in, widened(rows(latents)))
        mean, log_variance = unrows(points, latents.shape[0], tuple(latents.shape[2:])).chunk(2, 1)
        return mean, log_variance.clamp(-30, 20)
