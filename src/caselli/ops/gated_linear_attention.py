"""Linear attention whose memory decays at a rate of its own in every channel of the keys."""

from __future__ import annotations

import functools

import torch

from caselli.ops.chunks import (
    Segments,
    before,
    bounded_log_decay,
    exact,
    fold,
    forget,
    no_autocast,
    power_of_two,
    unfold,
)
from caselli.ops.decayed_scores import decayed_scores
from caselli.ops.pieces import in_pieces
from caselli.ops.scan import scan
from caselli.shapes import Bool, Float, Tensor


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
    after = log_decay.exp()[..., None] * state + pair
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

    Time and memory are linear in T; safe for any decay.

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
        log_decay = bounded_log_decay(log_decay).to(v.dtype)
        bonus = None if bonus is None else exact(bonus)
        if v.shape[1] == 1:
            state = forget(state, None if starts is None else starts[:, 0])
            y, state = gated_linear_attention_step(q[:, 0], k[:, 0], v[:, 0], log_decay[:, 0], state, bonus)
            y = y[:, None]
        else:
            size = power_of_two(min(chunk_size, v.shape[1]))
            compute = functools.partial(_chunked, size=size)
            shared = () if bonus is None else (bonus,)
            y, state = in_pieces(compute, (q, k, v, log_decay), state, starts, size, shared=shared)
    return y.to(dtype), state


def _chunked(q, k, v, log_decay, state, bonus=None, *, starts, size):
    length = v.shape[1]
    segments = None if starts is None else Segments.of(starts, size)
    q, k, v, log_decay = (fold(x, size).transpose(2, 3).contiguous() for x in (q, k, v, log_decay))
    total = log_decay.cumsum(3)
    query_total = total if bonus is None else total - log_decay
    own = (q * k if bonus is None else q * k * bonus[:, None]).sum(-1, keepdim=True)

    scores = decayed_scores(q, k, query_total, total)
    kept, left = query_total.exp(), (total[..., -1:, :] - total).exp()
    passed = total[..., -1, :].exp()
    if segments is not None:
        scores = scores * segments.together[:, :, None]
        kept = kept * segments.reads[:, :, None, :, None]
        left = left * segments.writes[:, :, None, :, None]
        passed = passed * segments.passes[:, :, None, None]
    states = scan(passed[..., None], (k * left).mT @ v, state)
    y = scores @ v + own * v + (q * kept) @ before(state, states)
    return unfold(y.transpose(2, 3), length), states[:, -1]
