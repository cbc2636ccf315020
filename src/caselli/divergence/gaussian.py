"""Closed forms for Gaussians of any dimension."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributions as D
from torch.distributions import Distribution

from caselli.divergence import counts


def moments(p: Distribution) -> tuple[Tensor, Tensor] | None:
    """Mean `*batch D` and covariance `*batch D D` of a Gaussian; None for any other distribution.

    Example:
        >>> moments(D.Normal(torch.tensor(1.0), torch.tensor(2.0)))
        (tensor([1.]), tensor([[4.]]))
    """
    if isinstance(p, D.Normal):
        return p.loc[..., None], p.scale.square()[..., None, None]
    if isinstance(p, D.MultivariateNormal):
        return p.loc, p.covariance_matrix
    if (
        isinstance(p, D.Independent)
        and isinstance(p.base_dist, D.Normal)
        and p.reinterpreted_batch_ndims == 1
    ):
        return p.base_dist.loc, torch.diag_embed(p.base_dist.scale.square())
    return None


def relative_entropy(p: Distribution, q: Distribution) -> Tensor | None:
    r"""KL(P‖Q) = ½ (tr Σ_q⁻¹Σ_p + δᵀΣ_q⁻¹δ − D + log |Σ_q|/|Σ_p|)."""
    first, second = moments(p), moments(q)
    if first is None or second is None:
        return None
    (m, s), (n, t) = first, second
    root = torch.linalg.cholesky(t)
    trace = torch.cholesky_solve(s, root).diagonal(dim1=-2, dim2=-1).sum(-1)
    return (trace + _quadratic(root, n - m) - m.shape[-1] + _log_det(root) - torch.logdet(s)) / 2


def log_affinity(p: Distribution, q: Distribution, order: float) -> Tensor | None:
    r"""log ∫ pᵃ q¹⁻ᵃ of Gaussians or counts; infinite where it diverges, None for other distributions.

    With Σ = aΣ_q + (1−a)Σ_p: :math:`-\tfrac{a(1-a)}2 δᵀΣ⁻¹δ - \tfrac12 \log |Σ| / (|Σ_p|^{1-a} |Σ_q|^a)`.

    Source: Gil, Alajaji and Linder 2013, Rényi Divergence Measures for Commonly Used Univariate Continuous
    Distributions.
    """
    first, second = moments(p), moments(q)
    if first is None or second is None:
        found = _of_independent(p, q, order)
        return counts.log_affinity(p, q, order) if found is None else found
    (m, s), (n, t) = first, second
    root, failed = torch.linalg.cholesky_ex(order * t + (1 - order) * s)
    identity = torch.eye(m.shape[-1], dtype=m.dtype, device=m.device)
    root = torch.where((failed > 0)[..., None, None], identity, root)
    log_dets = (1 - order) * torch.logdet(s) + order * torch.logdet(t)
    value = -order * (1 - order) / 2 * _quadratic(root, n - m) - (_log_det(root) - log_dets) / 2
    return value.masked_fill(failed > 0, torch.inf)


def _of_independent(p: Distribution, q: Distribution, order: float) -> Tensor | None:
    """The sum over distributions that are independent of each other, as many on both sides."""
    if not (isinstance(p, D.Independent) and isinstance(q, D.Independent)):
        return None
    axes = p.reinterpreted_batch_ndims
    each = log_affinity(p.base_dist, q.base_dist, order) if q.reinterpreted_batch_ndims == axes else None
    return None if each is None else each.sum(tuple(range(-axes, 0)))


def _quadratic(root: Tensor, x: Tensor) -> Tensor:
    """xᵀ (L Lᵀ)⁻¹ x."""
    shape = torch.broadcast_shapes(root.shape[:-1], x.shape)
    return torch.linalg.solve_triangular(root, x.expand(shape)[..., None], upper=False).square().sum((-1, -2))


def _log_det(root: Tensor) -> Tensor:
    return 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
