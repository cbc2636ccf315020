"""The delta rule whose memory decays at a rate of its own in every channel of the keys."""

from __future__ import annotations

import torch

from caselli.ops.chunks import (
    Segments,
    before,
    channel_decays,
    fold,
    power_of_two,
    unfold,
)
from caselli.ops.decayed_scores import decayed_scores
from caselli.ops.delta_rule import carry
from caselli.ops.pieces import recurrence
from caselli.shapes import Bool, Float, Tensor


def channel_delta_rule_step(
    q: Float[Tensor, "B N d"],
    k: Float[Tensor, "B N d"],
    v: Float[Tensor, "B N v"],
    reads: Float[Tensor, "B N d"],
    log_decay: Float[Tensor, "B N d"],
    state: Float[Tensor, "B N d v"],
) -> tuple[Float[Tensor, "B N v"], Float[Tensor, "B N d v"]]:
    """One token of `channel_delta_rule`."""
    new = v - (reads[..., None, :] @ state)[..., 0, :]
    state = log_decay.exp()[..., None] * state + k[..., None] * new[..., None, :]
    return (q[..., None, :] @ state)[..., 0, :], state


def channel_delta_rule_definition(
    q: Float[Tensor, "B T N d"],
    k: Float[Tensor, "B T N d"],
    v: Float[Tensor, "B T N v"],
    reads: Float[Tensor, "B T N d"],
    log_decay: Float[Tensor, "B T N d"],
    state: Float[Tensor, "B N d v"],
) -> tuple[Float[Tensor, "B T N v"], Float[Tensor, "B N d v"]]:
    """`channel_delta_rule` token by token."""
    outputs = []
    for t in range(q.shape[1]):
        y, state = channel_delta_rule_step(q[:, t], k[:, t], v[:, t], reads[:, t], log_decay[:, t], state)
        outputs.append(y)
    return torch.stack(outputs, 1), state


def channel_delta_rule(
    q: Float[Tensor, "B T N d"],
    k: Float[Tensor, "B T N d"],
    v: Float[Tensor, "B T N v"],
    state: Float[Tensor, "B N d v"],
    *,
    reads: Float[Tensor, "B T N d"],
    log_decay: Float[Tensor, "B T N d"],
    starts: Bool[Tensor, "B T"] | None = None,
    chunk_size: int = 64,
) -> tuple[Float[Tensor, "B T N v"], Float[Tensor, "B N d v"]]:
    r"""The delta rule with vector decay, in chunks of matrix products.

    .. math::
        S_t = \mathrm{diag}(e^{g_t})\, S_{t-1} + k_t \big(v_t - S_{t-1}^\top a_t\big)^\top, \qquad
        y_t = S_t^\top q_t

    a reads the state before it decays: with a = e^g ⊙ k what is erased is what was held under k after the
    decay. The case b = −k of `generalised_delta_rule`, at half its cost.

    Arguments:
        q, k: queries and the keys under which is written; T ≥ 1.
        v: values.
        state: S_0, at least float32.
        reads: a, the keys under which is read.
        log_decay: g ≤ 0.
        starts: where a packed sequence begins; S is forgotten before that token.
        chunk_size: tokens in one triangular system; rounded up to a power of two.

    Returns:
        y in v's dtype, and S_T.

    Source: Kimi Team 2025, Kimi Linear: An Expressive, Efficient Attention Architecture.

    Example:
        >>> one, zero = torch.ones(1, 2, 1, 1), torch.zeros(1, 2, 1, 1)
        >>> v = torch.tensor([1.0, 5.0]).view(1, 2, 1, 1)
        >>> channel_delta_rule(one, one, v, zero[:, 0, :, None], reads=one, log_decay=zero)[0].flatten()
        tensor([1., 5.])
    """
    size = power_of_two(min(chunk_size, v.shape[1]))
    return recurrence(channel_delta_rule_step, _chunked, (q, k, v, reads), log_decay, state, starts, size)


def _chunked(q, k, v, reads, log_decay, state, *, starts, size):
    length = v.shape[1]
    q, k, v, reads, log_decay = (
        fold(x, size).transpose(2, 3).contiguous() for x in (q, k, v, reads, log_decay)
    )
    readers = torch.stack((reads, q * log_decay.exp()), 3)
    scores = decayed_scores(readers, k[:, :, :, None], log_decay[:, :, :, None])
    kept, kept_before, left, passed = channel_decays(log_decay)
    if starts is not None:
        segments = Segments.of(starts, size)
        scores = scores * segments.together[:, :, None, None]
        reach = segments.reads[:, :, None, :, None]
        kept, kept_before = kept * reach, kept_before * reach
        left = left * segments.writes[:, :, None, :, None]
        passed = passed * segments.passes[:, :, None, None]
    read, seen = scores.unbind(3)

    # The new values are U − W S: what each token writes, less what it finds of the state before the chunk.
    sides = torch.cat((v, reads * kept_before), -1)
    solved = torch.linalg.solve_triangular(read, sides, upper=False, unitriangular=True)
    u, w = solved.split((v.shape[-1], k.shape[-1]), -1)
    keys = (k * left).mT
    states = carry(torch.diag_embed(passed) - keys @ w, keys @ u, state)
    entering = before(state, states)
    new = u - w @ entering
    y = seen @ new + (q * k).sum(-1, keepdim=True) * new + (q * kept) @ entering
    return unfold(y.transpose(2, 3), length), states[:, -1]
