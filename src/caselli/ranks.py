"""Sums, means, broadcasts and gathers over ranks; without a process group, the identity.

Only this file and the engine import torch.distributed.
"""

from __future__ import annotations

import os

import torch
import torch.distributed as dist

from caselli.shapes import Tensor


def start() -> None:
    """Joins the process group when torchrun started this process; otherwise does nothing."""
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ and not dist.is_initialized():
        backend = "gloo"
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
            backend = "nccl"
        dist.init_process_group(backend)


def stop() -> None:
    """Leaves the process group."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """This process's number, 0 when alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    """Number of processes that work together, 1 when alone."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """True for the process that writes files and speaks."""
    return rank() == 0


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


def wait() -> None:
    """Returns when every rank has come here."""
    if count() > 1:
        dist.barrier()
