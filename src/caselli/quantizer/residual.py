"""Residual quantization: each stage quantizes what the stages before left."""

from __future__ import annotations

import torch

from caselli.quantizer.base import Quantized, Quantizer, widened
from caselli.quantizer.several import StageDropout, join_codes, mean_metrics, parts, split_codes
from caselli.shapes import Float, Num, Tensor


class Residual(Quantizer):
    r"""Several quantizers in a row, each of the error of those before; their outputs are added.

    .. math:: r_1 = z, \qquad r_{i+1} = r_i - \mathrm{sg}(q_i(r_i)), \qquad \hat z = \sum_i q_i(r_i)

    The loss is the sum of theirs. Each stage passes its gradient to the latents, so that with Q
    straight-through stages the output's derivative is Q times the identity. Codes are `B Q *S`, coarse first.

    Arguments:
        width: D, the latents' width.
        quantizer: the stages' name in `QUANTIZERS`.
        options: the stages' arguments.
        stages: how many.
        stage_dropout: share of the training samples that count only their first n stages, n drawn evenly from
            1 to `stages`, so that the coarse codes alone make a picture.

    Raises:
        UserError: for an unknown name or option, no stage, or one without a codebook.

    Sources: Zeghidour et al. 2021, SoundStream; Lee et al. 2022, Autoregressive Image Generation using
    Residual Quantization.

    Example:
        >>> import torch
        >>> Residual(width=8, stages=3).encode(torch.zeros(2, 8, 5)).shape
        torch.Size([2, 3, 5])
    """

    def __init__(
        self,
        width: int,
        *,
        quantizer: str = "vq",
        options: dict | None = None,
        stages: int = 4,
        stage_dropout: float = 0.0,
    ) -> None:
        quantizers = parts(quantizer, width, options, stages)
        super().__init__(width, tuple(size for one in quantizers for size in one.sizes))
        self.stages, self.digits = quantizers, quantizers[0].digits
        self.dropout = StageDropout(stage_dropout)

    def code_shape(self, space: tuple[int, ...]) -> tuple[int, ...]:
        return self.stages[0].code_shape(space)

    def forward(self, latents: Float[Tensor, "B D *S"]) -> Quantized:
        self.check_latents(latents)
        rest, results = widened(latents), []
        for stage in self.stages:
            results.append(stage(rest))
            rest = rest - results[-1].latents.detach()
        counted = self.dropout([result.latents for result in results])
        return Quantized(
            latents=sum(counted).to(latents.dtype),
            codes=join_codes([result.codes for result in results], self.stages),
            loss=torch.stack([result.loss for result in results]).sum(),
            metrics=mean_metrics(results),
        )

    @torch.no_grad()
    def encode(self, latents: Float[Tensor, "B D *S"]) -> Num[Tensor, "B ..."]:
        self.check_latents(latents)
        rest, codes = widened(latents), []
        for stage in self.stages:
            codes.append(stage.encode(rest))
            rest = rest - stage.decode(codes[-1])
        return join_codes(codes, self.stages)

    def decode(self, codes: Num[Tensor, "B ..."]) -> Float[Tensor, "B D ..."]:
        self.check_codes(codes)
        pieces = split_codes(codes, self.stages)
        return sum(stage.decode(piece) for stage, piece in zip(self.stages, pieces, strict=True))
