"""Linear attention whose memory decays at a rate of its own in every channel of the keys."""

from __future__ import annotations

import functools

import torch

from caselli.ops import kernels
from caselli.ops.chunks import (
    Segments,
    after_each,
    bounded_log_decay,
    carry_gradients,
    carry_states,
    chunks,
    exact,
    forget,
    no_autocast,
    power_of_two,
    tokens,
)
from caselli.ops.decayed_scores import Decay, fill_scores, fill_scores_and_gradients, sums_to_the_end
from caselli.ops.pieces import in_pieces
from caselli.shapes import Bool, Float, Tensor

LONG_CHUNK = 128
"""Tokens of a chunk from which on its decays are multiplied in float64."""


def gated_linear_attention_step(
    q: Float[Tensor, "B N d"],
    k: Float[Tensor, "B N d"],
    v: Float[Tensor, "B N v"],
    log_decay: Float[Tensor, "B N d"],
    state: Float[Tensor, "B N d v"],
    bonus: Float[Tensor, "N d"] | None = None,
) -> tuple[Float[Tensor, "B N v"], Float[Tensor, "B N d v"]]:
    """One token of `gated_linear_attention`."""
    pair = k[..., None] * v[..., None, :]
    # e^g near one has few digits of what is lost, and the error would be the same at every token
    after = state + log_decay.expm1()[..., None] * state + pair
    seen = after if bonus is None else state + bonus[..., None] * pair
    return (q[..., None, :] @ seen)[..., 0, :], after


def gated_linear_attention_definition(
    q: Float[Tensor, "B T N d"],
    k: Float[Tensor, "B T N d"],
    v: Float[Tensor, "B T N v"],
    log_decay: Float[Tensor, "B T N d"],
    state: Float[Tensor, "B N d v"],
    bonus: Float[Tensor, "N d"] | None = None,
) -> tuple[Float[Tensor, "B T N v"], Float[Tensor, "B N d v"]]:
    """`gated_linear_attention` token by token."""
    outputs = []
    for t in range(q.shape[1]):
        y, state = gated_linear_attention_step(q[:, t], k[:, t], v[:, t], log_decay[:, t], state, bonus)
        outputs.append(y)
    return torch.stack(outputs, 1), state


def gated_linear_attention(
    q: Float[Tensor, "B T N d"],
    k: Float[Tensor, "B T N d"],
    v: Float[Tensor, "B T N v"],
    state: Float[Tensor, "B N d v"],
    *,
    log_decay: Float[Tensor, "B T N d"],
    bonus: Float[Tensor, "N d"] | None = None,
    starts: Bool[Tensor, "B T"] | None = None,
    chunk_size: int = 64,
) -> tuple[Float[Tensor, "B T N v"], Float[Tensor, "B N d v"]]:
    r"""Causal linear attention with vector decay, in chunks of matrix products.

    .. math:: S_t = \mathrm{diag}(e^{g_t})\, S_{t-1} + k_t v_t^\top, \qquad y_t = S_t^\top q_t

    and with a bonus u, which the current token gets in place of one, before the decay (RWKV-5 and 6):

    .. math:: y_t = \big(S_{t-1} + \mathrm{diag}(u)\, k_t v_t^\top\big)^\top q_t

    Time and memory are linear in T; safe for any decay; differentiable once.

    Arguments:
        q, k: queries and keys; T ≥ 1.
        v: values.
        state: S_0, at least float32.
        log_decay: g ≤ 0.
        bonus: u.
        starts: where a packed sequence begins; S is forgotten before that token.
        chunk_size: tokens that are compared directly; rounded up to a power of two.

    Returns:
        y in v's dtype, and S_T.

    Sources: Yang et al. 2024, Gated Linear Attention Transformers with Hardware-Efficient Training; Peng et
    al. 2024, Eagle and Finch: RWKV with Matrix-Valued States and Dynamic Recurrence.

    Example:
        >>> q = k = v = torch.ones(1, 3, 1, 1)
        >>> half = torch.full((1, 3, 1, 1), 0.5).log()
        >>> gated_linear_attention(q, k, v, torch.zeros(1, 1, 1, 1), log_decay=half)[0].flatten()
        tensor([1.0000, 1.5000, 1.7500])
    """
    dtype = v.dtype
    with no_autocast(v):
        q, k, v, state = (exact(x) for x in (q, k, v, state))
        log_decay = exact(log_decay).to(v.dtype)
        bonus = None if bonus is None else exact(bonus)
        if v.shape[1] == 1:
            state = forget(state, None if starts is None else starts[:, 0])
            y, state = gated_linear_attention_step(q[:, 0], k[:, 0], v[:, 0], log_decay[:, 0], state, bonus)
            y = y[:, None]
        elif kernels.suits(q, k, v, state) and k.shape[3] <= kernels.WIDEST:
            from caselli.ops.kernels.gated_linear_attention import gated_linear_attention as fused

            y, state = fused(q, k, v, bounded_log_decay(log_decay), state, bonus, starts)
        else:
            size = power_of_two(min(chunk_size, v.shape[1]))
            compute, gradient = (functools.partial(f, size=size) for f in (_chunked, _chunked_gradient))
            timed, shared = (q, k, v, log_decay), () if bonus is None else (bonus,)
            y, state = in_pieces(compute, timed, state, starts, size, shared=shared, gradient=gradient)
    return y.to(dtype), state


def _chunked(q, k, v, log_decay, state, bonus=None, *, starts, size):
    length, segments = v.shape[1], _segments(starts, size)
    q, k, v, decay = (chunks(x, size) for x in (q, k, v, log_decay))
    factors, lost, decay = _factors(decay), decay.double().sum(3), decay.exp()
    own = (q * k if bonus is None else q * k * bonus[:, None, None]).sum(-1)
    q = q * decay if bonus is None else q  # now what comes between the key and the query is all that is left
    blocks = Decay(factors, v.dtype)
    scores = fill_scores(q, k, blocks)
    scores.diagonal(dim1=-2, dim2=-1).copy_(own)
    if segments is not None:
        scores *= segments.together[:, None]
    kept, left, passed = _reach(blocks, lost, segments)
    entering, last = carry_states((k * left).mT @ v, passed, state)
    return tokens(scores @ v + (q * kept) @ entering, length), last


def _chunked_gradient(q, k, v, log_decay, state, bonus=None, *, outputs, starts, size):
    """Written by hand: what a graph would keep is computed again, and stays in the cache."""
    length, segments = v.shape[1], _segments(starts, size)
    _, y_gradient, state_gradient = outputs
    q, k, v, decay, of_y = (chunks(x, size) for x in (q, k, v, log_decay, y_gradient))
    factors, lost, decay = _factors(decay), decay.double().sum(3), decay.exp()
    weight = 1.0 if bonus is None else bonus[:, None, None]
    query = q * decay if bonus is None else q
    of_scores, blocks = of_y @ v.mT, Decay(factors, v.dtype)
    if segments is not None:
        of_scores *= segments.together[:, None]
    scores, of_query, of_k = fill_scores_and_gradients(query, k, blocks, of_scores)
    scores.diagonal(dim1=-2, dim2=-1).copy_((q * k * weight).sum(-1))
    if segments is not None:
        scores *= segments.together[:, None]
    kept, left, passed = _reach(blocks, lost, segments)
    reads, writes = query * kept, k * left
    entering, last = carry_states(writes.mT @ v, passed, state)
    leaving, of_state = carry_gradients(reads.mT @ of_y, passed, state_gradient)
    of_v = scores.mT @ of_y + writes @ leaving
    of_query.addcmul_(of_y @ entering.mT, kept)
    of_k.addcmul_(v @ leaving.mT, left)

    # A query's gradient by its total decay is the query times its own gradient; a key's the negative.
    of_reads = query * of_query
    of_total = of_reads - k * of_k
    of_total[:, :, :, -1] += (after_each(entering, last) * leaving).sum(-1)
    of_decay = sums_to_the_end(of_total)
    of_own = of_scores.diagonal(dim1=-2, dim2=-1)[..., None]
    of_q = torch.addcmul(of_query * decay if bonus is None else of_query, of_own, k * weight)
    of_k.addcmul_(of_own, q * weight)
    found = (of_q, of_k, of_v, of_decay if bonus is None else of_decay - of_reads)
    found = (*(tokens(x, length) for x in found), of_state)
    return found if bonus is None else (*found, (of_own * q * k).sum((0, 2, 3)))


def _factors(log_decay: Tensor) -> Tensor:
    """The decays, in float64 where so many are multiplied that their equal errors would add up."""
    return (log_decay.double() if log_decay.shape[-2] > LONG_CHUNK else log_decay).exp()


def _segments(starts: Tensor | None, size: int) -> Segments | None:
    return None if starts is None else Segments.of(starts, size)


def _reach(blocks: Decay, lost: Tensor, segments: Segments | None) -> tuple[Tensor, Tensor, Tensor]:
    """Decays from a chunk's beginning to each token, from each token to its end, and across it."""
    kept, left, passed = (x.to(blocks.dtype) for x in (blocks.since, blocks.until, lost.exp()[..., None]))
    if segments is not None:
        kept = kept * segments.reads[:, None, ..., None]
        left = left * segments.writes[:, None, ..., None]
        passed = passed * segments.passes[:, None, :, None, None]
    return kept, left, passed
