"""A tensor in fewer bytes, for a file: integers of a few bits with their scales, zeros left out."""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
import torch.nn.functional as F

from caselli.errors import UserError
from caselli.shapes import Float, Int, Num, Tensor

RATIOS = tuple(1 - 0.02 * i for i in range(21))
"""Shares of a group's largest weight that may lie at the end of the grid, when 4 bits are to do."""


@dataclasses.dataclass(frozen=True)
class Packing:
    """Form of a tensor in a file."""

    bits: Literal[4, 8, 32] = 32
    """32 for the numbers as they are; 8 or 4 for integers and scales."""
    group: int = 0
    """Neighbouring weights of a row that share a scale; 0 for the whole row."""
    sparse: bool = False
    """Leaves zeros out; a bit for each weight says where they were."""

    def __post_init__(self) -> None:
        if self.group < 0:
            raise UserError(f"groups of {self.group} weights were given", "0 or more were expected")

    @property
    def largest(self) -> int:
        """The largest integer: 127 or 7."""
        return 2 ** (self.bits - 1) - 1


AS_IT_IS = Packing()


def scales(weight: Float[Tensor, "R *S"], packing: Packing, ratio: float = 1.0) -> Float[Tensor, "R G 1"]:
    """The step of each group's grid, a bfloat16 number: the group's largest weight lies at its end.

    With so few digits of the scale, the end of the grid is exact in float32, and weights on the grid give
    the same scale again.

    Arguments:
        weight: rows of what makes one output each.
        packing: of 8 or 4 bits.
        ratio: share of the largest weight that lies at the end; what is larger is cut off.

    Example:
        >>> scales(torch.tensor([[127.0, -254.0]]), Packing(8)).flatten()
        tensor([2.])
    """
    largest = _groups(weight, packing).abs().amax(-1, keepdim=True)
    return (largest * ratio / packing.largest).clamp_min(1e-30).bfloat16().to(weight.dtype)


def quantise(weight: Float[Tensor, "R *S"], scale: Float[Tensor, "R G 1"], packing: Packing) -> Tensor:
    """The nearest integers, `R G group`, in the weight's dtype."""
    return (_groups(weight, packing) / scale).round().clamp(-packing.largest, packing.largest)


def dequantise(
    integers: Num[Tensor, "R G g"], scale: Float[Tensor, "R G 1"], shape: tuple[int, ...]
) -> Float[Tensor, "R *S"]:
    """Integers times their scales, what filled up the last group left out."""
    rows = (integers.to(scale.dtype) * scale).flatten(1)
    return rows[:, : _size(shape[1:])].reshape(shape)


def snapped(weight: Float[Tensor, "R *S"], packing: Packing) -> Float[Tensor, "R *S"]:
    """The weights on the grid that reaches to each group's largest; themselves for 32 bits.

    Example:
        >>> snapped(torch.tensor([[127.0, 3.4]]), Packing(8))
        tensor([[127.,   3.]])
    """
    if packing.bits == 32:
        return weight
    scale = scales(weight, packing)
    return dequantise(quantise(weight, scale, packing), scale, weight.shape)


def rounded(weight: Float[Tensor, "R *S"], packing: Packing) -> Float[Tensor, "R *S"]:
    """The weights that the packing holds: `unpack(pack(weight))`. Rounding twice changes nothing more.

    In 8 bits they are `snapped`; in 4 bits each group's grid ends where the squared error is least.
    """
    if packing.bits == 32:
        return weight
    scale = best_scales(weight, packing)
    return dequantise(quantise(weight, scale, packing), scale, weight.shape)


def best_scales(weight: Float[Tensor, "R *S"], packing: Packing) -> Float[Tensor, "R G 1"]:
    r"""The scales with the least squared error, among some shares of the largest weight (4 bits alone).

    .. math:: \min_{r \in \text{RATIOS}} \sum_i \big(w_i - s_r\,\mathrm{round}(w_i / s_r)\big)^2

    Example:
        >>> best_scales(torch.tensor([[7.0, 1.0, 1.0]]), Packing(4)).flatten()
        tensor([1.])
    """
    best = scales(weight, packing)
    if packing.bits == 8:
        return best
    groups = _groups(weight, packing)
    least = _squared(groups, best, quantise(weight, best, packing))
    for ratio in RATIOS[1:]:
        scale = scales(weight, packing, ratio)
        error = _squared(groups, scale, quantise(weight, scale, packing))
        best, least = torch.where(error < least, scale, best), torch.minimum(error, least)
    return best


def pack(tensor: Tensor, packing: Packing) -> dict[str, Tensor]:
    """The tensor's parts: `integers` and `scale`, or `values`; `kept` where zeros are left out.

    Example:
        >>> {name: list(part.shape) for name, part in pack(torch.ones(2, 64), Packing(4, group=32)).items()}
        {'scale': [2, 2, 1], 'integers': [64]}
    """
    parts = {}
    if packing.bits == 32:
        numbers = tensor
    else:
        scale = best_scales(tensor.float(), packing)
        grouped = quantise(tensor.float(), scale, packing)
        numbers = dequantise(grouped, torch.ones_like(scale), tensor.shape).to(torch.int8)
        parts["scale"] = scale.bfloat16()
    if packing.sparse:
        kept = numbers != 0
        numbers, parts["kept"] = numbers[kept], _bytes_of_bits(kept)
    if packing.bits == 4:
        numbers = _bytes_of_nibbles(numbers)
    return parts | {"values" if packing.bits == 32 else "integers": numbers.contiguous()}


def unpack(parts: dict[str, Tensor], packing: Packing, shape: tuple[int, ...]) -> Float[Tensor, "*S"]:
    """The tensor of that shape whose parts these are; float32 from integers.

    Raises:
        ValueError, KeyError, RuntimeError, IndexError: the parts do not fit each other.

    Example:
        >>> how = Packing(8, sparse=True)
        >>> unpack(pack(127 * torch.eye(3), how), how, (3, 3)).trace()
        tensor(381.)
    """
    numbers, size = parts["values" if packing.bits == 32 else "integers"], _size(shape)
    kept = None if not packing.sparse else _bits_of_bytes(parts["kept"])[:size]
    if packing.bits == 4:
        numbers = _nibbles_of_bytes(numbers)[: size if kept is None else int(kept.sum())]
    if kept is not None:
        if int(kept.sum()) != numbers.numel():
            raise ValueError(f"{int(kept.sum())} weights are kept, and {numbers.numel()} are there")
        numbers = numbers.new_zeros(size).masked_scatter(kept, numbers.flatten())
    numbers = numbers.reshape(shape)
    if packing.bits == 32:
        return numbers
    return dequantise(_groups(numbers.float(), packing), parts["scale"].float(), tuple(shape))


def smallest(tensor: Tensor, packing: Packing) -> Packing:
    """The packing with zeros left out where that takes fewer bits: a bit a weight, and only what is kept.

    Example:
        >>> smallest(torch.eye(4), Packing(8)).sparse, smallest(torch.ones(4, 4), Packing(8)).sparse
        (True, False)
    """
    zeros = (tensor == 0).double().mean().item()
    return dataclasses.replace(packing, sparse=zeros * packing.bits > 1)


def _groups(weight: Num[Tensor, "R *S"], packing: Packing) -> Num[Tensor, "R G g"]:
    """The rows in groups, the last one filled up by zeros."""
    rows = weight.flatten(1)
    group = packing.group or rows.shape[1]
    return F.pad(rows, (0, -rows.shape[1] % group)).unflatten(1, (-1, group))


def _squared(groups: Tensor, scale: Tensor, integers: Tensor) -> Tensor:
    return (groups - integers * scale).square().sum(-1, keepdim=True)


def _size(shape: tuple[int, ...]) -> int:
    return torch.Size(shape).numel()


def _bytes_of_nibbles(integers: Int[Tensor, "*S"]) -> Int[Tensor, "b"]:
    """Integers −8 … 7, two to a byte."""
    flat = (integers.flatten() + 8).to(torch.uint8)
    low, high = F.pad(flat, (0, flat.numel() % 2)).unflatten(0, (-1, 2)).unbind(1)
    return low | (high << 4)


def _nibbles_of_bytes(packed: Int[Tensor, "b"]) -> Int[Tensor, "n"]:
    return (torch.stack((packed & 15, packed >> 4), 1).flatten().to(torch.int8)) - 8


def _bytes_of_bits(bits: Tensor) -> Int[Tensor, "b"]:
    """Truth values, eight to a byte, the first the lowest."""
    flat = F.pad(bits.flatten().to(torch.uint8), (0, -bits.numel() % 8)).unflatten(0, (-1, 8))
    return (flat << torch.arange(8, dtype=torch.uint8)).sum(1).to(torch.uint8)


def _bits_of_bytes(packed: Int[Tensor, "b"]) -> Tensor:
    return ((packed[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1).flatten().bool()
