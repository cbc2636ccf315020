"""FLASH-quad: gated attention units with the published weights, quadratic in the length."""

from __future__ import annotations

from caselli.mixer.gated import QuadraticUnit


class FLASHQuad(QuadraticUnit):
    r"""The gated attention unit as FLASH-quad stacks it: squared ReLU, rotary positions, relative bias.

    .. math:: o_i = g_i \odot \sum_j \mathrm{relu}^2\big(q_i \cdot k_j / n_i + b_{i-j}\big)\, v_j

    with n_i the tokens that i sees: the published n is the length of the training sequences, which a causal
    model cannot know; pass normalisation="constant" to fix it.

    Arguments: `width` and those of `caselli.mixer.gated.GatedUnit`.

    Source: Hua et al. 2022, Transformer Quality in Linear Time.

    Example:
        >>> import torch
        >>> mixer = FLASHQuad(width=64, normalisation="constant", constant=256)
        >>> mixer(torch.zeros(2, 5, 64))[0].shape
        torch.Size([2, 5, 64])
    """
