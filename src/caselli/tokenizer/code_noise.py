"""Codes exchanged for similar ones, as a prior draws them: in training, and to measure a decoder."""

from __future__ import annotations

import torch

from caselli.shapes import Float, Tensor

CANDIDATES = 16
"""Number of codes of the batch of which the nearest takes a place."""


def exchanged(
    latents: Float[Tensor, "B D *S"], share: float, generator: torch.Generator | None = None
) -> Float[Tensor, "B D *S"]:
    r"""Quantized latents of which a share gives way to similar ones from other places of the batch.

    .. math:: z_i \leftarrow z_{j}, \qquad j = \arg\min_{j \in C_i} \lVert z_j - z_i \rVert, \; z_j \ne z_i

    with C_i sixteen places drawn at random. A code takes a place the oftener, the oftener it
    occurs: such mistakes a prior makes. The gradient passes straight through.

    Arguments:
        latents: what the quantizer gave.
        share: of the places, 0 to 1.
        generator: of the random numbers, on the latents' device; the global one unless given.

    Source: after Qiu et al. 2025, Robust Latent Matters: Boosting Image Generation with Sampling Error
    Synthesis (there, among the nearest entries of the codebook).

    Example:
        >>> z = torch.arange(4.0).view(1, 1, 2, 2)
        >>> exchanged(z, 0.0).equal(z), exchanged(z, 1.0).equal(z)
        (True, False)
    """
    flat = latents.detach().movedim(1, -1).flatten(0, -2)  # n D
    drawn = {"device": flat.device, "generator": generator}
    places = torch.randint(len(flat), (len(flat), CANDIDATES), **drawn)
    gaps = (flat[places] - flat[:, None]).square().sum(-1)
    gaps = gaps.masked_fill(gaps == 0, torch.inf)
    nearest = flat[places.gather(1, gaps.argmin(1, keepdim=True))[:, 0]]
    taken = torch.rand(len(flat), 1, **drawn) < share
    found = torch.where(taken, nearest, flat).unflatten(0, (latents.shape[0], *latents.shape[2:]))
    return latents + (found.movedim(-1, 1) - latents).detach()
