"""The common part of quantizers made of others: codes side by side on axis 1, metrics averaged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from caselli.errors import UserError
from caselli.quantizer.base import Quantized
from caselli.quantizer.build import build
from caselli.shapes import Float, Num, Tensor


def parts(name: str, width: int, options: dict | None, number: int) -> nn.ModuleList:
    """`number` quantizers of one kind, which must have codebooks.

    Example:
        >>> len(parts("vq", 8, {"codebook_size": 16}, 3))
        3
    """
    if number < 1:
        raise UserError(f"{number} quantizers were asked for", "at least 1 was expected")
    built = nn.ModuleList(build(name, width, options) for _ in range(number))
    if not built[0].sizes:
        raise UserError(
            f"quantizer {name!r} was given to be used several times",
            "one with a codebook was expected",
            "use it alone",
        )
    return built


def join_codes(codes: Sequence[Tensor], quantizers: nn.ModuleList) -> Num[Tensor, "B ..."]:
    """`B Q *S` of all codebooks, in order; `B *S` if there is one."""
    books = torch.cat(
        [part if len(one.sizes) > 1 else part[:, None] for part, one in zip(codes, quantizers, strict=True)],
        1,
    )
    return books if books.shape[1] > 1 else books[:, 0]


def split_codes(codes: Num[Tensor, "B ..."], quantizers: nn.ModuleList) -> list[Tensor]:
    """The inverse of `join_codes`."""
    numbers = [len(one.sizes) for one in quantizers]
    books = codes if sum(numbers) > 1 else codes[:, None]
    return [part if part.shape[1] > 1 else part[:, 0] for part in books.split(numbers, 1)]


def mean_metrics(results: Sequence[Quantized]) -> dict[str, Tensor]:
    """Each metric's mean over the parts."""
    return {
        name: torch.stack([result.metrics[name] for result in results]).mean() for name in results[0].metrics
    }


class StageDropout(nn.Module):
    """Leaves out the later stages of some training samples, so that the first ones alone make a picture.

    Arguments:
        share: of the samples that count only their first n stages, n drawn evenly from 1 to all.

    Errors: `UserError` for a share outside 0 to 1.

    Source: Zeghidour et al. 2021, SoundStream (quantizer dropout).

    Example:
        >>> parts = [torch.ones(64, 2)] * 3
        >>> torch.stack(StageDropout(1.0)(parts)).sum(0).unique()
        tensor([1., 2., 3.])
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        if not 0 <= share <= 1:
            raise UserError(f"stage_dropout {share} was given", "a share from 0 to 1 was expected")
        self.share = share

    def forward(self, stages: Sequence[Float[Tensor, "B ..."]]) -> list[Float[Tensor, "B ..."]]:
        """Additions of the stages, zero for the samples that do not count them."""
        if not self.training or not self.share:
            return list(stages)
        first = stages[0]
        batch, device = len(first), first.device
        counted = torch.randint(1, len(stages) + 1, (batch,), device=device)
        counted = counted.masked_fill(torch.rand(batch, device=device) >= self.share, len(stages))
        keep = (counted[:, None] > torch.arange(len(stages), device=device)).to(first.dtype)
        shape = (batch,) + (1,) * (first.dim() - 1)
        return [part * keep[:, number].view(shape) for number, part in enumerate(stages)]
