"""Linear attention: a matrix that remembers sums of k vᵀ, with no decay or one scalar a head and token."""

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
    unfold,
)
from caselli.ops.pieces import in_pieces
from caselli.ops.scan import scan
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

    Time and memory are linear in T. Nothing is scaled or normalised; append a one to v for the normaliser
    (`normalised_linear_attention`). With G < N, head i uses the query and key of group i // (N/G).

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
        if log_decay is None:
            log_decay = v.new_zeros(1, 1, 1).expand(v.shape[:3])
        log_decay = bounded_log_decay(log_decay).to(v.dtype)
        if v.shape[1] == 1:
            y, state = _one_token(q, k, v, log_decay, state, starts)
        else:
            size = min(chunk_size, v.shape[1])
            compute = functools.partial(_chunked, size=size)
            y, state = in_pieces(compute, (q, k, v, log_decay), state, starts, size)
    return y.to(dtype), state


def _one_token(q, k, v, log_decay, state, starts):
    state = forget(state, None if starts is None else starts[:, 0])
    y, state = linear_attention_step(q[:, 0], k[:, 0], v[:, 0], log_decay[:, 0], state)
    return y[:, None], state


def _chunked(q, k, v, log_decay, state, *, starts, size):
    """Axes: B batch, n chunks, G groups, R heads of a group, C tokens of a chunk."""
    batch, length, groups, width = q.shape
    heads, value_width = v.shape[2:]
    repeat = heads // groups
    segments = None if starts is None else Segments.of(starts, size)
    q, k = (fold(x, size).transpose(2, 3) for x in (q, k))
    v = fold(v.unflatten(2, (groups, repeat)), size).permute(0, 1, 3, 4, 2, 5)
    total = fold(log_decay.unflatten(2, (groups, repeat)), size).cumsum(2).permute(0, 1, 3, 4, 2)

    y = _within(q, k, v, total, segments)

    kept, left, passed = total.exp(), (total[..., -1:] - total).exp(), total[..., -1].exp()
    if segments is not None:
        kept = kept * segments.reads[:, :, None, None]
        left = left * segments.writes[:, :, None, None]
        passed = passed * segments.passes[:, :, None, None]
    written = k.mT @ (v * left[..., None]).transpose(3, 4).flatten(4)
    written = written.unflatten(4, (repeat, value_width))
    state = state.view(batch, groups, repeat, width, value_width).transpose(2, 3)
    states = scan(passed[..., None, :, None], written, state)
    read = (q @ before(state, states).flatten(4)).unflatten(4, (repeat, value_width)).transpose(3, 4)
    y = torch.addcmul(y, read, kept[..., None])

    y = unfold(y.permute(0, 1, 4, 2, 3, 5).flatten(3, 4), length)
    return y, states[:, -1].transpose(2, 3).reshape(batch, heads, width, value_width)


def _within(q, k, v, total, segments):
    """What the tokens of a chunk say to each other."""
    size = q.shape[-2]
    known = torch.ones(size, size, dtype=torch.bool, device=q.device).tril()
    if segments is not None:
        known = known & segments.together[:, :, None, None]
    decay = (total[..., :, None] - total[..., None, :]).masked_fill(~known, -torch.inf).exp()
    return ((q @ k.mT)[:, :, :, None] * decay) @ v


def normalised_linear_attention(
    q: Float[Tensor, "B T N d"],
    k: Float[Tensor, "B T N d"],
    v: Float[Tensor, "B T N v"],
    state: Float[Tensor, "B N d w"],
    *,
    epsilon: float = 1e-6,
    starts: Bool[Tensor, "B T"] | None = None,
    chunk_size: int = 64,
) -> tuple[Float[Tensor, "B T N v"], Float[Tensor, "B N d w"]]:
    r"""Linear attention whose weights sum to one, as softmax's do.

    .. math:: y_t = \frac{\sum_{s\le t} (q_t\cdot k_s)\, v_s}{\sum_{s\le t} q_t\cdot k_s + \epsilon}

    Arguments:
        q, k: features of the queries and keys, none negative.
        v: values.
        state: S and, in its last column, Σ k: w = v + 1.
        epsilon: added to the denominator.
        starts, chunk_size: as in `linear_attention`.

    Source: Katharopoulos et al. 2020, Transformers are RNNs.

    Example:
        >>> q = k = torch.ones(1, 3, 1, 1)
        >>> v = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)
        >>> normalised_linear_attention(q, k, v, torch.zeros(1, 1, 1, 2))[0].flatten()
        tensor([1.0000, 1.5000, 2.0000])
    """
    ones = torch.ones_like(v[..., :1])
    y, state = linear_attention(
        q, k, torch.cat((exact(v), exact(ones)), -1), state, starts=starts, chunk_size=chunk_size
    )
    return (y[..., :-1] / (y[..., -1:] + epsilon)).to(v.dtype), state
