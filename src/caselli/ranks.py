"""Sums, means, broadcasts and gathers over ranks; without a process group, the identity.

Only this file and the engine import torch.distributed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.distributed as dist

from caselli.shapes import Tensor

_ALONE = ContextVar("alone", default=False)


def start() -> None:
    """Joins the process group when torchrun started this process; otherwise does nothing."""
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ and not dist.is_initialized():
        backend = "gloo"
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
            backend = "cpu:gloo,cuda:nccl"  # clocks and counts are on the CPU
        dist.init_process_group(backend)


def stop() -> None:
    """Leaves the process group."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """This process's number, 0 when alone."""
    return dist.get_rank() if _together() else 0


def count() -> int:
    """Number of processes that work together, 1 when alone."""
    return dist.get_world_size() if _together() else 1


@contextmanager
def alone() -> Iterator[None]:
    """Makes this process one of one while it lasts: for work that the other ranks take no part in."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


def _together() -> bool:
    return dist.is_initialized() and not _ALONE.get()


def is_first() -> bool:
    """True for the process that writes files and speaks."""
    return rank() == 0


def share(items: int) -> range:
    """This rank's part of the numbers below `items`: neighbours, equally many but for the last ranks.

    Example:
        >>> share(3)
        range(0, 3)
    """
    each = -(-items // count())
    first = min(rank() * each, items)
    return range(first, min(first + each, items))


@torch.no_grad()
def total(tensor: Tensor) -> Tensor:
    """Σ over ranks, the same on every rank; not differentiable."""
    if count() == 1:
        return tensor
    tensor = tensor.detach().clone()
    dist.all_reduce(tensor)
    return tensor


def mean(tensor: Tensor) -> Tensor:
    """The mean over ranks, the same on every rank; not differentiable."""
    return total(tensor) / count()


@torch.no_grad()
def from_first(tensor: Tensor) -> Tensor:
    """The first rank's tensor, on every rank."""
    if count() == 1:
        return tensor
    tensor = tensor.detach().clone()
    dist.broadcast(tensor, 0)
    return tensor


@torch.no_grad()
def gather(tensor: Tensor) -> Tensor:
    """Every rank's tensor (equal shapes), joined along the first axis in order of rank."""
    if count() == 1:
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(count())]
    dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


@torch.no_grad()
def join(tensor: Tensor) -> Tensor:
    """Every rank's tensor, of lengths that may differ, joined along the first axis in order of rank."""
    if count() == 1:
        return tensor
    lengths = gather(torch.tensor([len(tensor)], device=tensor.device)).tolist()
    padded = tensor.new_zeros(max(lengths), *tensor.shape[1:])
    padded[: len(tensor)] = tensor.detach()
    parts = gather(padded).split(max(lengths))
    return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])


def is_lost(error: BaseException) -> bool:
    """True where an error says that another process of the group is gone.

    Example:
        >>> is_lost(RuntimeError("Connection closed by peer"))
        False
    """
    words = ("gloo", "connection closed by peer", "connection reset by peer", "nccl")
    named = isinstance(error, dist.DistError) or any(word in str(error).lower() for word in words)
    return dist.is_initialized() and isinstance(error, RuntimeError) and named


def wait() -> None:
    """Returns when every rank has come here."""
    if count() > 1:
        dist.barrier()
