"""The common part of quantizers made of others: codes side by side on axis 1, metrics averaged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from caselli.errors import UserError
from caselli.quantizer.base import Quantized
from caselli.quantizer.build import build
from caselli.shapes import Num, Tensor


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
