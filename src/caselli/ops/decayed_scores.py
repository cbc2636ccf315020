"""Scores of queries and keys whose every channel decays at its own rate, without a positive exponent."""

from __future__ import annotations

import torch

from caselli.shapes import Float, Tensor


def decayed_scores_definition(
    q: Float[Tensor, "*A C d"],
    k: Float[Tensor, "*_ C d"],
    query_total: Float[Tensor, "*_ C d"],
    key_total: Float[Tensor, "*_ C d"],
) -> Float[Tensor, "*_ C C"]:
    """`decayed_scores` as it is written, with C² d exponentials."""
    size = q.shape[-2]
    earlier = torch.ones(size, size, dtype=torch.bool, device=q.device).tril(-1)
    exponent = query_total[..., :, None, :] - key_total[..., None, :, :]
    decay = exponent.masked_fill(~earlier[..., None], -torch.inf).exp()
    return (q[..., :, None, :] * k[..., None, :, :] * decay).sum(-1)


def decayed_scores(
    q: Float[Tensor, "*A C d"],
    k: Float[Tensor, "*_ C d"],
    query_total: Float[Tensor, "*_ C d"],
    key_total: Float[Tensor, "*_ C d"],
) -> Float[Tensor, "*_ C C"]:
    r"""The strictly lower triangle of decayed products.

    .. math:: A_{ts} = \sum_i q_{ti}\, k_{si}\, e^{Q_{ti} - K_{si}} \quad (s < t)

    A block's second half meets its first half by way of the total at the middle, m: e^{Q−m} and e^{m−K} are
    both at most one, whatever the decays, so nothing overflows and each level is one matrix product. The
    halves are divided likewise: 2 log C factors a token instead of C.

    Arguments:
        q, k: queries and keys of a chunk, C a power of two; leading axes broadcast.
        query_total, key_total: running sums of the log decays, nowhere growing; Q_t ≤ K_s for s < t.

    Source: Yang et al. 2024, Gated Linear Attention Transformers with Hardware-Efficient Training (which
    divides once; here to the end).

    Example:
        >>> q = k = torch.ones(2, 1)
        >>> decayed_scores(q, k, torch.zeros(2, 1), torch.zeros(2, 1))
        tensor([[0., 0.],
                [1., 0.]])
    """
    return _DecayedScores.apply(q, k, query_total, key_total)


class _DecayedScores(torch.autograd.Function):
    """Written by hand: the gradient of a total is its query's or key's times its own value."""

    @staticmethod
    def forward(ctx, q, k, query_total, key_total):
        ctx.save_for_backward(q, k, query_total, key_total)
        size = q.shape[-2]
        leading = torch.broadcast_shapes(q.shape[:-2], k.shape[:-2])
        scores = q.new_zeros(*leading, size, size)
        for half in _halves(size):
            left, right, _, _ = _factors(q, k, query_total, key_total, half)
            _blocks(scores, half).copy_(left @ right.mT)
        return scores

    @staticmethod
    def backward(ctx, gradient):
        q, k, query_total, key_total = ctx.saved_tensors
        size = q.shape[-2]
        leading = gradient.shape[:-2]
        q_gradient = q.new_zeros(*leading, *q.shape[-2:])
        k_gradient = k.new_zeros(*leading, *k.shape[-2:])
        for half in _halves(size):
            left, right, later, earlier = _factors(q, k, query_total, key_total, half)
            block = _blocks(gradient, half)
            _second(q_gradient, half).addcmul_(block @ right, later)
            _first(k_gradient, half).addcmul_(block.mT @ left, earlier)
        return (
            q_gradient.sum_to_size(q.shape),
            k_gradient.sum_to_size(k.shape),
            (q * q_gradient).sum_to_size(query_total.shape),
            (k * k_gradient).neg_().sum_to_size(key_total.shape),
        )


def _halves(size: int) -> list[int]:
    assert size & (size - 1) == 0, "a chunk must be a power of two"
    return [1 << level for level in range(size.bit_length() - 1)]


def _first(x: Tensor, half: int) -> Tensor:
    return x.unflatten(-2, (-1, 2, half))[..., 0, :, :]


def _second(x: Tensor, half: int) -> Tensor:
    return x.unflatten(-2, (-1, 2, half))[..., 1, :, :]


def _blocks(scores: Tensor, half: int) -> Tensor:
    """The blocks below the diagonal, in which second halves meet first halves."""
    both = scores.unflatten(-1, (-1, 2 * half)).unflatten(-3, (-1, 2 * half)).diagonal(dim1=-4, dim2=-2)
    return both[..., half:, :half, :].movedim(-1, -3)


def _factors(q, k, query_total, key_total, half):
    earlier = _first(key_total, half)
    middle = earlier[..., -1:, :]
    later = (_second(query_total, half) - middle).exp()
    earlier = (middle - earlier).exp()
    return _second(q, half) * later, _first(k, half) * earlier, later, earlier
