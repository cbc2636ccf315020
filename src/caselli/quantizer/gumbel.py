"""Gumbel-Softmax quantization: a code drawn from a categorical distribution, with gradients."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from caselli.errors import UserError
from caselli.quantizer.base import linear, widened
from caselli.quantizer.entropy import entropy, over_ranks
from caselli.quantizer.pointwise import Points, Pointwise
from caselli.shapes import Float, Int, Tensor


class Gumbel(Pointwise):
    r"""Each latent is a distribution over K codes; training draws from it, relaxed; evaluation has its mode.

    .. math::
        y = \mathrm{softmax}\big((\ell + g)/\tau\big), \quad g_j \sim \mathrm{Gumbel}(0, 1), \qquad
        q = \sum_j y_j e_j, \qquad
        L = w\,\mathbb E \sum_j p_j \log (K p_j) + v \sum_j \bar p_j \log (K \bar p_j), \quad
        p = \mathrm{softmax}(\ell), \quad \bar p = \mathbb E\,p

    with ℓ a linear function of the latent, that starts at such a scale that the choice is not all noise. The
    first term keeps each latent unsure, the second all codes in use. The temperature τ falls geometrically
    from `temperature` to `final_temperature` over `anneal_steps` training steps, counted in the saved buffer
    `step`. Needs n × K numbers in training.

    Arguments:
        width: D, the latents' width.
        codebook_size: K.
        temperature: τ at the start, above 0.
        final_temperature: τ at the end, above 0.
        anneal_steps: training steps from one to the other; 0 for `final_temperature` at once.
        hard: true if the decoder gets one code (with the gradient of y, straight through) or the mixture.
        kl_weight: w, weight of each latent's divergence from equal chances.
        balance_weight: v, weight of the divergence of the average from equal use of all codes.
        logit_scale: about the standard deviation of ℓ at the start, above 0; the noise's is 1.28.

    Raises:
        UserError: for a temperature of 0 or less, a width or size under 1.

    Sources: Jang, Gu and Poole 2016, Categorical Reparameterization with Gumbel-Softmax; Maddison, Mnih and
    Teh 2016, The Concrete Distribution; Ramesh et al. 2021, Zero-Shot Text-to-Image Generation.

    Example:
        >>> quantizer = Gumbel(width=64, anneal_steps=100)
        >>> quantizer.step.fill_(50), quantizer.current_temperature()
        (tensor(50), tensor(0.7071))
    """

    def __init__(
        self,
        width: int,
        *,
        codebook_size: int = 1024,
        temperature: float = 1.0,
        final_temperature: float = 0.5,
        anneal_steps: int = 10_000,
        hard: bool = True,
        kl_weight: float = 5e-4,
        balance_weight: float = 0.05,
        logit_scale: float = 3.0,
    ) -> None:
        super().__init__(width, codebook_size, width)
        if min(temperature, final_temperature, logit_scale) <= 0 or anneal_steps < 0:
            raise UserError(
                f"temperature {temperature}, final_temperature {final_temperature}, "
                f"logit_scale {logit_scale}, anneal_steps {anneal_steps} were given",
                "temperatures and a scale above 0 and steps of at least 0 were expected",
            )
        self.temperature, self.final_temperature = temperature, final_temperature
        self.anneal_steps, self.hard, self.kl_weight = anneal_steps, hard, kl_weight
        self.balance_weight = balance_weight
        self.logits = nn.Linear(width, codebook_size)
        nn.init.normal_(self.logits.weight, std=logit_scale * (3 / width) ** 0.5)  # of latents of variance ⅓
        self.codebook = nn.Parameter(torch.randn(codebook_size, width) * width**-0.5)
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def current_temperature(self) -> Float[Tensor, ""]:
        """τ at the current step."""
        part = (self.step.float() / max(1, self.anneal_steps)).clamp(max=1) if self.anneal_steps else 1.0
        start, end = math.log(self.temperature), math.log(self.final_temperature)
        return torch.exp(torch.as_tensor(start + part * (end - start), device=self.step.device))

    def quantize_points(self, points: Float[Tensor, "n d"]) -> Points:
        logits, vectors = linear(self.logits, points), widened(self.codebook)
        log_p = logits.log_softmax(1)
        kl = (log_p.exp() * (log_p + math.log(self.sizes[0]))).sum(1).mean()
        balance = math.log(self.sizes[0]) - entropy(over_ranks(log_p.exp().mean(0), self.training))
        temperature = self.current_temperature()
        if self.training:
            weights = F.gumbel_softmax(logits, tau=temperature, hard=self.hard)
            codes = weights.argmax(1)
            latents = weights @ vectors
            self.step += 1
        else:
            codes = logits.argmax(1)
            latents = F.embedding(codes, vectors)
        loss = self.kl_weight * kl + self.balance_weight * balance
        return Points(latents, codes, loss, {"kl": kl, "balance": balance, "temperature": temperature})

    def encode_points(self, points: Float[Tensor, "n d"]) -> Int[Tensor, "n"]:
        return linear(self.logits, points).argmax(1)

    def decode_points(self, codes: Int[Tensor, "n"]) -> Float[Tensor, "n d"]:
        return F.embedding(codes, widened(self.codebook))
