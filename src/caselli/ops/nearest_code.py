"""The nearest vector of a codebook, in bounded memory."""

from __future__ import annotations

import torch

from caselli.shapes import Float, Int, Tensor

CHUNK_ELEMENTS = 1 << 20
"""Scores held at a time: four megabytes of float32, what a core's cache keeps close."""


def nearest_code_definition(latents: Float[Tensor, "n D"], codebook: Float[Tensor, "K D"]) -> Int[Tensor, "n"]:
    """argmin_k ‖z_i − e_k‖², as it is written."""
    distances = [((codebook.double() - z.double()) ** 2).sum(1) for z in latents]
    return torch.stack([d.argmin() for d in distances]) if distances else latents.new_zeros(0, dtype=torch.int64)


@torch.no_grad()
def nearest_code(latents: Float[Tensor, "n D"], codebook: Float[Tensor, "K D"]) -> Int[Tensor, "n"]:
    r"""The index of the nearest code of each latent.

    .. math:: k_i = \arg\max_k\; z_i \cdot e_k - \tfrac12 \lVert e_k \rVert^2

    which is the nearest in Euclidean distance: ‖z‖² is the same for every code, and leaving it out keeps
    float32 exact where it would drown the differences. Always computed in float32 (float64 stays float64),
    also under autocast; chunked over both axes, so that memory does not grow with n × K. Of equal codes the
    first wins.

    Arguments:
        latents: n vectors of width D, any floating dtype.
        codebook: K vectors of width D.

    Returns:
        n indices in 0 … K−1, int64.

    Example:
        >>> nearest_code(torch.tensor([[0.9, 0.1]]), torch.eye(2))
        tensor([0])
    """
    dtype = torch.float64 if latents.dtype == torch.float64 else torch.float32
    with torch.autocast(latents.device.type, enabled=False):
        latents, codebook = latents.to(dtype), codebook.to(dtype)
        half_norms = codebook.square().sum(1).mul_(0.5)
        columns = min(len(codebook), 4096)
        rows = max(1, CHUNK_ELEMENTS // columns)
        chunks = [_nearest_in_rows(z, codebook, half_norms, columns) for z in latents.split(rows)]
    return torch.cat(chunks) if chunks else latents.new_zeros(0, dtype=torch.int64)


def _nearest_in_rows(latents: Tensor, codebook: Tensor, half_norms: Tensor, columns: int) -> Tensor:
    best = index = None
    for start in range(0, len(codebook), columns):
        scores = torch.addmm(
            half_norms[start : start + columns], latents, codebook[start : start + columns].T, beta=-1
        )
        top, where = scores.max(1)
        if best is None:
            best, index = top, where
        else:
            better = top > best  # strictly: of equal codes the first wins
            best, index = torch.where(better, top, best), torch.where(better, where + start, index)
    return index
