"""Quantizers by their definitions, one latent and one code at a time."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor


def nearest(latent: Tensor, codebook: Tensor) -> int:
    """argmin ‖z − e‖²; of equal ones the first."""
    distances = [float(((latent - code) ** 2).sum()) for code in codebook]
    return distances.index(min(distances))


def moving_averages(
    latents: Tensor, codes: Tensor, vectors: Tensor, counts: Tensor, decay: float, epsilon: float
) -> tuple[Tensor, Tensor]:
    """The codebook and its counts after one step, from a codebook that equals its averages."""
    size, new_counts, sums = len(vectors), [], []
    for k in range(size):
        mine = [z for z, code in zip(latents, codes, strict=True) if code == k]
        new_counts.append(decay * counts[k] + (1 - decay) * len(mine))
        sums.append(decay * counts[k] * vectors[k] + (1 - decay) * sum(mine, torch.zeros_like(vectors[k])))
    total = sum(new_counts)
    smooth = [(count + epsilon) / (total + size * epsilon) * total for count in new_counts]
    moved = torch.stack([s / n for s, n in zip(sums, smooth, strict=True)])
    return moved, torch.stack(new_counts)


def binary_entropies(latents: Tensor, magnitude: float, temperature: float) -> tuple[Tensor, Tensor]:
    """Mean entropy and entropy of the mean of softmax(2 z·c / τ) over all 2^d codes of signs."""
    signs = itertools.product((-magnitude, magnitude), repeat=latents.shape[1])
    codes = torch.tensor(list(signs), dtype=latents.dtype)
    p = (2 * latents @ codes.T / temperature).softmax(1)
    mean = p.mean(0)
    return -torch.xlogy(p, p).sum(1).mean(), -torch.xlogy(mean, mean).sum()


def finite_scalar(latent: Tensor, levels: tuple[int, ...]) -> tuple[list[float], int]:
    """Values and code of one latent: of each channel's allowed values the nearest to its bounded one."""
    values, code, basis = [], 0, 1
    for z, count in zip(latent, levels, strict=True):
        half = (count - 1) * (1 + 1e-3) / 2
        offset = 0.5 if count % 2 == 0 else 0.0
        bounded = torch.tanh(z + torch.atanh(torch.tensor(offset / half, dtype=z.dtype))) * half - offset
        allowed = [level - count // 2 for level in range(count)]
        level = min(range(count), key=lambda i: abs(allowed[i] - float(bounded)))
        values.append(allowed[level] / (count // 2))
        code, basis = code + level * basis, basis * count
    return values, code


def index_backpropagation(latents: Tensor, codebook: Tensor) -> Tensor:
    """(onehot + p − sg(p)) E, with everything of size n × K written out."""
    p = (latents @ codebook.T).softmax(1)
    hard = torch.nn.functional.one_hot(p.argmax(1), len(codebook)).to(p.dtype)
    return hard @ codebook + (p - p.detach()) @ codebook.detach()


def rotated(latent: Tensor, quantized: Tensor) -> Tensor:
    """The matrix of the rotation and scaling that takes a latent to its code."""
    u, v = latent / latent.norm(), quantized / quantized.norm()
    w = (u + v) / (u + v).norm()
    identity = torch.eye(len(latent), dtype=latent.dtype)
    return quantized.norm() / latent.norm() * (identity - 2 * torch.outer(w, w) + 2 * torch.outer(v, u))
