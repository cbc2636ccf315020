"""Vectors brought to mean zero and covariance one by moving averages."""

from __future__ import annotations

import torch
from torch import nn

from caselli import ranks
from caselli.errors import UserError
from caselli.quantizer.base import widened
from caselli.shapes import Float, Tensor

ITERATIONS = 20
"""Rounds of the root's iteration: enough for variances that differ by as much as the floor lets them."""
FLOOR = 1e-3
"""Variances are lifted by this share of their mean, so that a channel that says nothing is not blown up."""


class Whitening(nn.Module):
    r"""Takes away the mean and the correlations of the vectors of the last batches.

    .. math:: u = \Sigma^{-1/2} (z - \mu)

    with μ and Σ moving averages over steps and all ranks, held constant in the gradient. At step t their
    decay is min(γ, t / (1 + t)): the first batch is whitened by its own statistics. A module that has seen
    no batch passes its input as it is, but for the floor of the variances.

    Arguments:
        width: d.
        decay: γ, in [0, 1).

    Raises:
        UserError: for a decay outside [0, 1).

    Source: Huang et al. 2019, Iterative Normalization: Beyond Standardization towards Efficient Whitening
    (the root by Newton's iteration).

    Example:
        >>> whitening = Whitening(2, decay=0.9)
        >>> z = torch.randn(500, 2) @ torch.tensor([[3.0, 1.0], [0.0, 2.0]]) + 4
        >>> whitening.learn(z)
        >>> torch.allclose(whitening(z).T.cov(), torch.eye(2), atol=0.01)
        True
    """

    def __init__(self, width: int, *, decay: float) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise UserError(
                f"decay {decay} was given", "a number from 0 up to, not including, 1 was expected"
            )
        self.decay = decay
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("covariance", torch.eye(width))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def forward(self, points: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        mean, covariance = (widened(tensor).to(points.dtype) for tensor in (self.mean, self.covariance))
        return (points - mean) @ inverse_root(covariance)

    @torch.no_grad()
    def learn(self, points: Float[Tensor, "n d"]) -> None:
        """One step of the moving averages, with a training batch."""
        step = self.step.to(points.dtype)
        keep = (step / (1 + step)).clamp(max=self.decay)
        self.step += 1
        mean, covariance = moments(points)
        self.mean.lerp_(mean.to(self.mean.dtype), (1 - keep).to(self.mean.dtype))
        self.covariance.lerp_(covariance.to(self.mean.dtype), (1 - keep).to(self.mean.dtype))


def moments(points: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "d"], Float[Tensor, "d d"]]:
    """Mean and covariance of all ranks' vectors together, the same on every rank."""
    count = ranks.total(points.new_tensor(float(len(points))))
    mean = ranks.total(points.sum(0)) / count
    gap = points - mean
    return mean, ranks.total(gap.T @ gap) / count


def inverse_root(matrix: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    r"""The symmetric inverse square root of a covariance, lifted a little; no transfer from the device.

    .. math:: Y_0 = \hat\Sigma, \quad Z_0 = I, \qquad T_k = \tfrac12 (3 I - Z_k Y_k), \qquad
        Y_{k+1} = Y_k T_k, \quad Z_{k+1} = T_k Z_k \to \hat\Sigma^{-1/2}

    with Σ̂ = Σ / tr Σ, in float64.

    Example:
        >>> inverse_root(torch.diag(torch.tensor([4.0, 0.25]))).diagonal()
        tensor([0.4999, 1.9916])
    """
    wide = matrix.double()
    one = torch.eye(len(wide), dtype=wide.dtype, device=wide.device)
    wide = wide + one * (FLOOR * wide.diagonal().mean()).clamp_min(1e-12)
    trace = wide.diagonal().sum()
    near, root = wide / trace, one
    for _ in range(ITERATIONS):
        turn = 1.5 * one - 0.5 * root @ near
        near, root = near @ turn, turn @ root
    return (root * trace.rsqrt()).to(matrix.dtype)
