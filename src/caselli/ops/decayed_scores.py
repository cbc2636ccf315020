"""Scores of queries and keys whose every channel decays at its own rate, without a positive exponent."""

from __future__ import annotations

import torch
from torch.autograd.function import once_differentiable

from caselli.shapes import Float, Tensor


def decayed_scores_definition(
    q: Float[Tensor, "*A C d"], k: Float[Tensor, "*_ C d"], log_decay: Float[Tensor, "*_ C d"]
) -> Float[Tensor, "*_ C C"]:
    """`decayed_scores` as it is written, with C² d exponentials."""
    size = q.shape[-2]
    earlier = torch.ones(size, size, dtype=torch.bool, device=q.device).tril(-1)
    total = log_decay.cumsum(-2)
    exponent = (total - log_decay)[..., :, None, :] - total[..., None, :, :]
    decay = exponent.masked_fill(~earlier[..., None], -torch.inf).exp()
    return (q[..., :, None, :] * k[..., None, :, :] * decay).sum(-1)


def decayed_scores(
    q: Float[Tensor, "*A C d"], k: Float[Tensor, "*_ C d"], log_decay: Float[Tensor, "*_ C d"]
) -> Float[Tensor, "*_ C C"]:
    r"""The strictly lower triangle of decayed products.

    .. math:: A_{ts} = \sum_i q_{ti}\, k_{si} \prod_{s < u < t} e^{g_{ui}} \quad (s < t)

    A block's second half meets its first half: what has decayed since the second began and what decays until
    the first ends are both at most one, whatever the decays, so nothing overflows and each level is one
    matrix product. The halves are divided likewise. From one level to the next the decays of blocks are
    multiplied: C exponentials in all. Differentiable once.

    Arguments:
        q, k: queries and keys of a chunk, C a power of two; leading axes broadcast.
        log_decay: g ≤ 0; that of t itself belongs to q_t, where it is wanted.

    Source: Yang et al. 2024, Gated Linear Attention Transformers with Hardware-Efficient Training (which
    divides once; here to the end).

    Example:
        >>> q = k = torch.ones(4, 1)
        >>> decayed_scores(q, k, torch.full((4, 1), 0.5).log())
        tensor([[0.0000, 0.0000, 0.0000, 0.0000],
                [1.0000, 0.0000, 0.0000, 0.0000],
                [0.5000, 1.0000, 0.0000, 0.0000],
                [0.2500, 0.5000, 1.0000, 0.0000]])
    """
    return _DecayedScores.apply(q, k, log_decay)


class Decay:
    """The decays within blocks of a chunk, which double in size.

    Attributes:
        size: tokens of a block.
        since: from the beginning of its block to before each token.
        until: from after each token to the end of its block.
        whole: of each block.
        dtype: of `later` and `earlier`; the decays themselves may be kept in another.
    """

    def __init__(self, decay: Float[Tensor, "*A C d"], dtype: torch.dtype) -> None:
        self.size, self.whole, self.dtype = 1, decay, dtype
        self.since, self.until = torch.ones_like(decay), torch.ones_like(decay)

    @property
    def later(self) -> Tensor:
        """Decay from the middle of a pair of blocks to each token of its second half."""
        return second(self.since, self.size).to(self.dtype)

    @property
    def earlier(self) -> Tensor:
        """Decay from each token of a first half to the middle of the pair."""
        return first(self.until, self.size).to(self.dtype)

    def double(self) -> None:
        """Pairs of blocks become blocks."""
        before, after = self.whole[..., 0::2, :], self.whole[..., 1::2, :]
        second(self.since, self.size).mul_(before[..., None, :])
        first(self.until, self.size).mul_(after[..., None, :])
        self.size, self.whole = 2 * self.size, before * after


class _DecayedScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, log_decay):
        ctx.save_for_backward(q, k, log_decay)
        return fill_scores(q, k, Decay(log_decay.exp(), log_decay.dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        q, k, log_decay = ctx.saved_tensors
        _, of_q, of_k = fill_scores_and_gradients(q, k, Decay(log_decay.exp(), log_decay.dtype), gradient)
        of_queries = (q * of_q).sum_to_size(log_decay.shape)
        of_keys = (k * of_k).sum_to_size(log_decay.shape)
        of_decay = sums_to_the_end(of_queries - of_keys) - of_queries
        return of_q.sum_to_size(q.shape), of_k.sum_to_size(k.shape), of_decay


def sums_to_the_end(x: Float[Tensor, "*A C d"]) -> Float[Tensor, "*A C d"]:
    """The gradient of what was summed up along a chunk.

    Example:
        >>> sums_to_the_end(torch.tensor([[1.0], [2.0]])).flatten()
        tensor([3., 2.])
    """
    return x.flip(-2).cumsum(-2).flip(-2)


def fill_scores(q: Tensor, k: Tensor, decay: Decay) -> Tensor:
    """`decayed_scores`; the decay's blocks grow to the whole chunk."""
    size = q.shape[-2]
    scores = q.new_zeros(*torch.broadcast_shapes(q.shape[:-2], k.shape[:-2]), size, size)
    while decay.size < size:
        left = second(q, decay.size) * decay.later
        right = first(k, decay.size) * decay.earlier
        _blocks(scores, decay.size).copy_(left @ right.mT)
        decay.double()
    return scores


def fill_scores_and_gradients(
    q: Tensor, k: Tensor, decay: Decay, gradient: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`decayed_scores` again, and the gradients of q and k (on the axes of the scores).

    The gradient of a query's logarithmic decay is the query times its gradient; of a key's likewise.
    """
    size, leading = q.shape[-2], gradient.shape[:-2]
    scores = torch.zeros_like(gradient, memory_format=torch.contiguous_format)
    of_q, of_k = q.new_zeros(*leading, *q.shape[-2:]), k.new_zeros(*leading, *k.shape[-2:])
    while decay.size < size:
        later, earlier = decay.later, decay.earlier
        left, right = second(q, decay.size) * later, first(k, decay.size) * earlier
        block = _blocks(gradient, decay.size).contiguous()
        _blocks(scores, decay.size).copy_(left @ right.mT)
        second(of_q, decay.size).addcmul_(block @ right, later)
        first(of_k, decay.size).addcmul_(block.mT @ left, earlier)
        decay.double()
    return scores, of_q, of_k


def first(x: Tensor, half: int) -> Tensor:
    """The first halves of blocks, `*A blocks half d`."""
    return x.unflatten(-2, (-1, 2, half))[..., 0, :, :]


def second(x: Tensor, half: int) -> Tensor:
    """The second halves."""
    return x.unflatten(-2, (-1, 2, half))[..., 1, :, :]


def _blocks(scores: Tensor, half: int) -> Tensor:
    """The blocks below the diagonal, in which second halves meet first halves."""
    assert scores.shape[-1] % (2 * half) == 0, "a chunk must be a power of two"
    both = scores.unflatten(-1, (-1, 2 * half)).unflatten(-3, (-1, 2 * half)).diagonal(dim1=-4, dim2=-2)
    return both[..., half:, :half, :].movedim(-1, -3)
