"""The nearest vector of a codebook, in bounded memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from caselli.shapes import Float, Int, Tensor

CHUNKS = {"cpu": (1024, 1024)}
"""Latents and codes compared at a time: four megabytes of scores, what a core's cache keeps close."""
LARGE_CHUNKS = (4096, 16384)
"""Latents and codes compared at a time on a GPU, where the number of kernels costs: 256 megabytes."""


def nearest_code_definition(
    latents: Float[Tensor, "n D"], codebook: Float[Tensor, "K D"]
) -> Int[Tensor, "n"]:
    """argmin_k ‖z_i − e_k‖², as it is written."""
    distances = [((codebook.double() - z.double()) ** 2).sum(1) for z in latents]
    return (
        torch.stack([d.argmin() for d in distances]) if distances else latents.new_zeros(0, dtype=torch.int64)
    )


@torch.no_grad()
def nearest_code(latents: Float[Tensor, "n D"], codebook: Float[Tensor, "K D"]) -> Int[Tensor, "n"]:
    r"""The index of the nearest code of each latent.

    .. math:: k_i = \arg\max_k\; z_i \cdot e_k - \tfrac12 \lVert e_k \rVert^2

    which is the nearest in Euclidean distance: ‖z‖² is the same for every code, and leaving it out keeps
    float32 exact where it would drown the differences. Always computed in float32 (float64 stays float64),
    also under autocast and where faster, coarser products are allowed; chunked over both axes, so that memory
    does not grow with n × K. Of equal scores the first wins.

    Arguments:
        latents: n vectors of width D, any floating dtype.
        codebook: K vectors of width D.

    Returns:
        n indices in 0 … K−1, int64.

    Example:
        >>> nearest_code(torch.tensor([[0.9, 0.1]]), torch.eye(2))
        tensor([0])
    """
    codebook = codebook.to(_at_least_float32(latents))
    return _highest(latents, codebook, codebook.square().sum(1).mul_(-0.5))


@torch.no_grad()
def largest_product(latents: Float[Tensor, "n D"], codebook: Float[Tensor, "K D"]) -> Int[Tensor, "n"]:
    r"""The index of the code with the largest product z · e, computed as `nearest_code` is.

    Example:
        >>> largest_product(torch.tensor([[0.9, 0.1]]), torch.tensor([[1.0, 0.0], [2.0, 0.0]]))
        tensor([1])
    """
    codebook = codebook.to(_at_least_float32(latents))
    return _highest(latents, codebook, codebook.new_zeros(len(codebook)))


def _highest(latents: Tensor, codebook: Tensor, bias: Tensor) -> Tensor:
    """argmax_k of z · e_k + bias_k, in the codebook's precision."""
    rows, columns = CHUNKS.get(latents.device.type, LARGE_CHUNKS)
    with full_precision(latents):
        z = latents.to(codebook.dtype)
        pieces = [z] if torch.compiler.is_exporting() else z.split(rows)  # a graph is for any number of rows
        chunks = [_highest_in_rows(piece, codebook, bias, columns) for piece in pieces]
    return torch.cat(chunks) if chunks else latents.new_zeros(0, dtype=torch.int64)


def _at_least_float32(tensor: Tensor) -> torch.dtype:
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


@contextlib.contextmanager
def full_precision(tensor: Tensor) -> Iterator[None]:
    """Float32 products are float32 in here: neither autocast nor a coarser product mode decides a code.

    Example:
        >>> with torch.autocast("cpu", torch.bfloat16), full_precision(torch.zeros(1)):
        ...     (torch.eye(2) @ torch.eye(2)).dtype
        torch.float32
    """
    device, mode = tensor.device.type, torch.get_float32_matmul_precision()
    with contextlib.ExitStack() as stack:
        if torch.is_autocast_enabled(device):
            stack.enter_context(torch.autocast(device, enabled=False))
        if mode != "highest":
            torch.set_float32_matmul_precision("highest")
            stack.callback(torch.set_float32_matmul_precision, mode)
        if device == "cuda":  # convolutions have a switch of their own
            cudnn = torch.backends.cudnn
            kept = {name: getattr(cudnn, name) for name in ("enabled", "benchmark", "deterministic")}
            stack.enter_context(cudnn.flags(**kept, allow_tf32=False))
        yield


def _highest_in_rows(latents: Tensor, codebook: Tensor, bias: Tensor, columns: int) -> Tensor:
    best = index = None
    for start in range(0, len(codebook), columns):
        scores = torch.addmm(bias[start : start + columns], latents, codebook[start : start + columns].T)
        top, where = scores.max(1)
        if best is None:
            best, index = top, where
        else:
            better = top > best  # strictly: of equal codes the first wins
            best, index = torch.where(better, top, best), torch.where(better, where + start, index)
    return index
