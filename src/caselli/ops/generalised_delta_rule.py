"""The generalised delta rule: a transition that is diagonal plus low rank, different at every token."""

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


def generalised_delta_rule_step(
    q: Float[Tensor, "B N d"],
    k: Float[Tensor, "B N d"],
    v: Float[Tensor, "B N v"],
    a: Float[Tensor, "B N d"],
    b: Float[Tensor, "B N d"],
    log_decay: Float[Tensor, "B N d"],
    state: Float[Tensor, "B N d v"],
) -> tuple[Float[Tensor, "B N v"], Float[Tensor, "B N d v"]]:
    """One token of `generalised_delta_rule`."""
    found = a[..., None, :] @ state
    state = log_decay.exp()[..., None] * state + b[..., None] * found + k[..., None] * v[..., None, :]
    return (q[..., None, :] @ state)[..., 0, :], state


def generalised_delta_rule_definition(
    q: Float[Tensor, "B T N d"],
    k: Float[Tensor, "B T N d"],
    v: Float[Tensor, "B T N v"],
    a: Float[Tensor, "B T N d"],
    b: Float[Tensor, "B T N d"],
    log_decay: Float[Tensor, "B T N d"],
    state: Float[Tensor, "B N d v"],
) -> tuple[Float[Tensor, "B T N v"], Float[Tensor, "B N d v"]]:
    """`generalised_delta_rule` token by token."""
    outputs = []
    for t in range(q.shape[1]):
        token = (x[:, t] for x in (q, k, v, a, b, log_decay))
        y, state = generalised_delta_rule_step(*token, state)
        outputs.append(y)
    return torch.stack(outputs, 1), state


def generalised_delta_rule(
    q: Float[Tensor, "B T N d"],
    k: Float[Tensor, "B T N d"],
    v: Float[Tensor, "B T N v"],
    state: Float[Tensor, "B N d v"],
    *,
    a: Float[Tensor, "B T N d"],
    b: Float[Tensor, "B T N d"],
    log_decay: Float[Tensor, "B T N d"],
    starts: Bool[Tensor, "B T"] | None = None,
    chunk_size: int = 64,
) -> tuple[Float[Tensor, "B T N v"], Float[Tensor, "B N d v"]]:
    r"""A diagonal-plus-low-rank recurrence of a matrix, in chunks of matrix products.

    .. math::
        S_t = \big(\mathrm{diag}(e^{g_t}) + b_t a_t^\top\big) S_{t-1} + k_t v_t^\top, \qquad
        y_t = S_t^\top q_t

    a reads the state before it decays. RWKV-7 takes a = −κ, b = α ⊙ κ; Kimi delta attention a = e^g ⊙ k,
    b = −β k and β k for k; the delta rule is the special case of one decay for all channels.

    Arguments:
        q, k: queries and keys; T ≥ 1.
        v: values.
        state: S_0, at least float32.
        a, b: the low-rank part.
        log_decay: g ≤ 0.
        starts: where a packed sequence begins; S is forgotten before that token.
        chunk_size: tokens in one system; rounded up to a power of two.

    Returns:
        y in v's dtype, and S_T.

    Source: Peng et al. 2025, RWKV-7 "Goose" with Expressive Dynamic State Evolution.

    Example:
        >>> one = torch.ones(1, 2, 1, 1)
        >>> zero = torch.zeros(1, 2, 1, 1)
        >>> state = torch.zeros(1, 1, 1, 1)
        >>> generalised_delta_rule(one, one, one, state, a=one, b=-one, log_decay=zero)[0].flatten()
        tensor([1., 1.])
    """
    size = power_of_two(min(chunk_size, v.shape[1]))
    return recurrence(generalised_delta_rule_step, _chunked, (q, k, v, a, b), log_decay, state, starts, size)


def _chunked(q, k, v, a, b, log_decay, state, *, starts, size):
    length, width = v.shape[1], v.shape[-1]
    q, k, v, a, b, log_decay = (
        fold(x, size).transpose(2, 3).contiguous() for x in (q, k, v, a, b, log_decay)
    )
    kept, kept_earlier, left, passed = channel_decays(log_decay)
    scores = decayed_scores(
        torch.stack((a, q * log_decay.exp()), 3)[:, :, :, :, None],
        torch.stack((b, k), 3)[:, :, :, None],
        log_decay[:, :, :, None, None],
    )
    if starts is not None:
        segments = Segments.of(starts, size)
        scores = scores * segments.together[:, :, None, None, None]
        reads = segments.reads[:, :, None, :, None]
        kept, kept_earlier = kept * reads, kept_earlier * reads
        left = left * segments.writes[:, :, None, :, None]
        passed = passed * segments.passes[:, :, None, None]
    (ab, ak), (qb, qk) = (pair.unbind(3) for pair in scores.unbind(3))

    # What a finds at each token, p = P + R S, solves a triangular system; S is the state before the chunk.
    sides = torch.cat((ak @ v, a * kept_earlier), -1)
    solved = torch.linalg.solve_triangular(-ab, sides, upper=False, unitriangular=True)
    b_left, k_left = (b * left).mT, (k * left).mT
    moved = b_left @ solved
    transition = torch.diag_embed(passed) + moved[..., width:]
    states = carry(transition, moved[..., :width] + k_left @ v, state)
    entering = before(state, states)
    found = solved[..., :width] + solved[..., width:] @ entering
    y = qb @ found + (q * b).sum(-1, keepdim=True) * found
    y = y + qk @ v + (q * k).sum(-1, keepdim=True) * v + (q * kept) @ entering
    return unfold(y.transpose(2, 3), length), states[:, -1]
