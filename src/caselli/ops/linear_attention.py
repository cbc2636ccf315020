"""Linear attention: a matrix that remembers sums of k vᵀ, with no decay or one scalar a head and token."""

from __future__ import annotations

import dataclasses
import functools

import torch

from caselli.ops import kernels
from caselli.ops.chunks import (
    Segments,
    bounded_log_decay,
    carry_gradients,
    carry_states,
    chunks,
    decay_between,
    exact,
    faded,
    forget,
    log_sums,
    no_autocast,
    tokens,
)
from caselli.ops.pieces import in_pieces
from caselli.shapes import Bool, Float, Tensor


def linear_attention_step(
    q: Float[Tensor, "B G d"],
    k: Float[Tensor, "B G d"],
    v: Float[Tensor, "B N v"],
    log_decay: Float[Tensor, "B N"],
    state: Float[Tensor, "B N d v"],
) -> tuple[Float[Tensor, "B N v"], Float[Tensor, "B N d v"]]:
    """One token of `linear_attention`."""
    repeat = v.shape[1] // k.shape[1]
    q, k = (x.repeat_interleave(repeat, 1) if repeat > 1 else x for x in (q, k))
    state = log_decay.exp()[..., None, None] * state + k[..., None] * v[..., None, :]
    return (q[..., None, :] @ state)[..., 0, :], state


def linear_attention_definition(
    q: Float[Tensor, "B T G d"],
    k: Float[Tensor, "B T G d"],
    v: Float[Tensor, "B T N v"],
    log_decay: Float[Tensor, "B T N"],
    state: Float[Tensor, "B N d v"],
) -> tuple[Float[Tensor, "B T N v"], Float[Tensor, "B N d v"]]:
    """`linear_attention` token by token."""
    outputs = []
    for t in range(q.shape[1]):
        y, state = linear_attention_step(q[:, t], k[:, t], v[:, t], log_decay[:, t], state)
        outputs.append(y)
    return torch.stack(outputs, 1), state


def linear_attention(
    q: Float[Tensor, "B T G d"],
    k: Float[Tensor, "B T G d"],
    v: Float[Tensor, "B T N v"],
    state: Float[Tensor, "B N d v"],
    *,
    log_decay: Float[Tensor, "B T N"] | None = None,
    starts: Bool[Tensor, "B T"] | None = None,
    chunk_size: int = 64,
) -> tuple[Float[Tensor, "B T N v"], Float[Tensor, "B N d v"]]:
    r"""Causal linear attention with an optional scalar decay, in chunks of matrix products.

    .. math:: S_t = e^{g_t} S_{t-1} + k_t v_t^\top, \qquad y_t = S_t^\top q_t

    Time and memory are linear in T; differentiable once. Nothing is scaled or normalised; append a one to v
    for the normaliser. With G < N, head i uses the query and key of group
    i // (N/G).

    Arguments:
        q, k: queries and keys in G groups, G a divisor of N; T ≥ 1.
        v: values.
        state: S_0, at least float32.
        log_decay: g ≤ 0; none for a matrix that forgets nothing.
        starts: where a packed sequence begins; S is forgotten before that token.
        chunk_size: tokens that are compared directly.

    Returns:
        y in v's dtype, and S_T.

    Sources: Katharopoulos et al. 2020, Transformers are RNNs; Dao and Gu 2024, Transformers are SSMs.

    Example:
        >>> q = k = v = torch.ones(1, 3, 1, 1)
        >>> y, state = linear_attention(q, k, v, torch.zeros(1, 1, 1, 1))
        >>> y.flatten(), state.item()
        (tensor([1., 2., 3.]), 3.0)
    """
    dtype = v.dtype
    with no_autocast(v):
        q, k, v, state = (exact(x) for x in (q, k, v, state))
        if log_decay is not None:
            log_decay = bounded_log_decay(log_decay).to(v.dtype)
        if v.shape[1] == 1:
            y, state = _one_token(q, k, v, log_decay, state, starts)
        elif kernels.suits(q, k, v, state) and k.shape[3] <= kernels.WIDEST:
            y, state = _fused(q, k, v, log_decay, state, starts)
        else:
            size = min(chunk_size, v.shape[1])
            timed = (q, k, v) if log_decay is None else (q, k, v, log_decay)
            compute, gradient = (functools.partial(f, size=size) for f in (_chunked, _chunked_gradient))
            y, state = in_pieces(compute, timed, state, starts, size, gradient=gradient)
    return y.to(dtype), state


def _fused(q, k, v, log_decay, state, starts):
    from caselli.ops.kernels.linear_attention import linear_attention

    log_decay = v.new_zeros(v.shape[:3]) if log_decay is None else log_decay
    return linear_attention(q, k, v, log_decay, state, starts)


def _one_token(q, k, v, log_decay, state, starts):
    state = forget(state, None if starts is None else starts[:, 0])
    log_decay = v.new_zeros(v.shape[:3]) if log_decay is None else log_decay
    y, state = linear_attention_step(q[:, 0], k[:, 0], v[:, 0], log_decay[:, 0], state)
    return y[:, None], state


@dataclasses.dataclass(frozen=True)
class _Decay:
    """Decays within a chunk; axes as in `_inputs`."""

    within: Float[Tensor, "*_ C C"]
    """From each token of a chunk to each later one, and zero to each earlier one."""
    kept: Float[Tensor, "B G n C R 1"] | float = 1.0
    """From the beginning of the chunk to each token."""
    left: Float[Tensor, "B G n C R 1"] | float = 1.0
    """From each token to the end of the chunk."""
    passed: Float[Tensor, "B G n 1 R 1"] | None = None
    """From the beginning to the end."""

    @staticmethod
    def none(size: int, like: Tensor) -> _Decay:
        return _Decay(torch.ones(size, size, dtype=like.dtype, device=like.device).tril_())

    @staticmethod
    def of(log_decay: Tensor, groups: int, starts: Tensor | None, size: int) -> _Decay:
        total = log_sums(chunks(log_decay.unflatten(2, (groups, -1)), size).transpose(3, 4))
        within, last = decay_between(total, log_decay.dtype), total[..., -1:]
        sums = torch.cat((total, last - total, last), -1).to(log_decay.dtype)
        kept, left, passed = faded(sums.transpose(3, 4).contiguous()).split((size, size, 1), 3)
        if starts is not None:
            segments = Segments.of(starts, size)
            within = within * segments.together[:, None, :, None]
            kept = kept * segments.reads[:, None, :, :, None]
            left = left * segments.writes[:, None, :, :, None]
            passed = passed * segments.passes[:, None, :, None, None]
        return _Decay(within, kept[..., None], left[..., None], passed[..., None])


def _inputs(q, k, v, log_decay, state, starts, size):
    """All that both directions need of a piece; v and the state have the heads of a group side by side.

    Axes: B batch, G groups, n chunks, C tokens of a chunk, R heads of a group.
    """
    groups = k.shape[2]
    q, k, v = chunks(q, size), chunks(k, size), chunks(v.unflatten(2, (groups, -1)), size)
    if log_decay is None and starts is not None:
        log_decay = v.new_zeros(starts.shape[0], starts.shape[1], groups * v.shape[4])
    decay = _Decay.none(size, v) if log_decay is None else _Decay.of(log_decay, groups, starts, size)
    state = state.unflatten(1, (groups, -1)).transpose(2, 3)  # B G d R v
    weights = (q @ k.mT)[:, :, :, None] * decay.within
    weighted = v * decay.left if decay.passed is not None else v
    written = (k.mT @ weighted.flatten(4)).unflatten(4, v.shape[4:])
    entering, state = carry_states(written, decay.passed, state)
    return q, k, v, decay, weights, weighted, entering, state


def _chunked(q, k, v, *others, starts, size):
    *log_decay, state = others
    length = v.shape[1]
    inputs = _inputs(q, k, v, *(log_decay or [None]), state, starts, size)
    q, _, v, decay, weights, _, entering, last = inputs
    y = (weights @ v.transpose(3, 4)).transpose(3, 4)
    read = (q @ entering.flatten(4)).view(v.shape)
    y = y + read if decay.passed is None else torch.addcmul(y, read, decay.kept)
    return tokens(y, length).flatten(2, 3), last.transpose(2, 3).reshape(state.shape)


def _chunked_gradient(*inputs, outputs, starts, size):
    """Written by hand: what a graph would keep is computed again, and stays in the cache."""
    *timed, state = inputs
    y, y_gradient, state_gradient = outputs
    groups, length = timed[1].shape[2], y.shape[1]
    log_decay = timed[3] if len(timed) == 4 else None
    q, k, v, decay, weights, weighted, entering, last = _inputs(*timed[:3], log_decay, state, starts, size)
    of_y = chunks(y_gradient.unflatten(2, (groups, -1)), size)
    heads_y, heads_v = (x.transpose(3, 4).contiguous() for x in (of_y, v))
    of_v = (weights.mT @ heads_y).transpose(3, 4)
    of_scores = (heads_y @ heads_v.mT).mul_(decay.within).sum(3)
    read = (of_y * decay.kept if decay.passed is not None else of_y).flatten(4)
    of_last = state_gradient.unflatten(1, (groups, -1)).transpose(2, 3)
    leaving, of_state = carry_gradients((q.mT @ read).view_as(entering), decay.passed, of_last)
    of_q = of_scores @ k + read @ entering.flatten(4).mT
    of_k = of_scores.mT @ q + weighted.flatten(4) @ leaving.flatten(4).mT
    of_v = torch.add(of_v, (k @ leaving.flatten(4)).view(v.shape).mul_(decay.left))
    found = [tokens(of_q, length), tokens(of_k, length), tokens(of_v, length).flatten(2, 3)]
    if log_decay is not None:
        # Outputs and the last state grow with e^total at their end, and inversely with that at the beginning.
        of_total = (y_gradient * y).sum(-1) - (timed[2] * found[2]).sum(-1)
        of_total[:, -1] += (last * of_last).sum((2, 4)).flatten(1)
        found.append(of_total.flip(1).cumsum(1).flip(1))
    return *found, of_state.transpose(2, 3).reshape(state.shape)
