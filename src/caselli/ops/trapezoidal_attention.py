"""Linear attention by the trapezoidal rule: a step takes in the token before it as well as its own."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from caselli.ops.chunks import exact, no_autocast
from caselli.ops.linear_attention import linear_attention
from caselli.shapes import Bool, Float, Tensor


def trapezoidal_attention_definition(
    q: Float[Tensor, "B T R N d"],
    k: Float[Tensor, "B T R N d"],
    v: Float[Tensor, "B T R N v"],
    log_decay: Float[Tensor, "B T N"],
    step: Float[Tensor, "B T N"],
    share: Float[Tensor, "B T N"],
    state: Float[Tensor, "B N d v"],
    last_k: Float[Tensor, "B R N d"],
    last_v: Float[Tensor, "B R N v"],
) -> tuple[Float[Tensor, "B T R N v"], Float[Tensor, "B N d v"]]:
    """`trapezoidal_attention` token by token."""
    outputs = []
    for t in range(q.shape[1]):
        decay, late, now = log_decay[:, t].exp(), (1 - share[:, t]) * step[:, t], share[:, t] * step[:, t]
        before = torch.einsum("brnd,brnv->bndv", last_k, last_v)
        last_k, last_v = k[:, t], v[:, t]
        own = torch.einsum("brnd,brnv->bndv", last_k, last_v)
        state = decay[..., None, None] * (state + late[..., None, None] * before) + now[..., None, None] * own
        outputs.append(torch.einsum("brnd,bndv->brnv", q[:, t], state))
    return torch.stack(outputs, 1), state


def trapezoidal_attention(
    q: Float[Tensor, "B T R N d"],
    k: Float[Tensor, "B T R N d"],
    v: Float[Tensor, "B T R N v"],
    state: Float[Tensor, "B N d v"],
    last_k: Float[Tensor, "B R N d"],
    last_v: Float[Tensor, "B R N v"],
    *,
    log_decay: Float[Tensor, "B T N"],
    step: Float[Tensor, "B T N"],
    share: Float[Tensor, "B T N"],
    starts: Bool[Tensor, "B T"] | None = None,
    chunk_size: int = 64,
) -> tuple[Float[Tensor, "B T R N v"], Float[Tensor, "B N d v"]]:
    r"""A scalar-decay recurrence discretised by the trapezoidal rule, R rows a token.

    .. math::
        S_t = e^{g_t} \Big(S_{t-1} + (1 - \lambda_t) \Delta_t \sum_r k_{t-1,r} v_{t-1,r}^\top\Big)
        + \lambda_t \Delta_t \sum_r k_{tr} v_{tr}^\top, \qquad y_{tr} = S_t^\top q_{tr}

    A token is seen with the weight λΔ of its own step by itself, and with (1 − λ)Δ of the next step besides
    by all that follow. So it is `linear_attention` with the sum of both as the weight, and what a token then
    sees too much of itself taken back.

    Arguments:
        q, k, v: queries, keys and values; T ≥ 1.
        state: S_0, at least float32.
        last_k, last_v: those of the token before the first, zero where there is none.
        log_decay: g ≤ 0.
        step: Δ ≥ 0.
        share: λ, 0 … 1; 1 for Euler's rule.
        starts: where a packed sequence begins; what came before is forgotten there.
        chunk_size: rows that are compared directly.

    Returns:
        y in v's dtype, and S_T.

    Source: Lahoti et al. 2026, Mamba-3: Improved Sequence Modeling Using State Space Principles.

    Example:
        >>> one = torch.ones(1, 2, 1, 1, 1)
        >>> zero, half = torch.zeros(1, 2, 1), torch.full((1, 2, 1), 0.5)
        >>> options = {"log_decay": zero, "step": torch.ones(1, 2, 1), "share": half}
        >>> state, last = torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
        >>> trapezoidal_attention(one, one, one, state, last, last, **options)[0].flatten()
        tensor([0.5000, 1.5000])
    """
    dtype, rows = v.dtype, v.shape[2]
    with no_autocast(v):
        q, k, v, step, share = (exact(x) for x in (q, k, v, step, share))
        now, late = share * step, (1 - share) * step
        before = torch.einsum("brnd,brnv->bndv", exact(last_k), exact(last_v))
        state = state + late[:, 0, :, None, None] * before
        following = late[:, 1:] if starts is None else late[:, 1:] * ~starts[:, 1:, None]
        weight = now + F.pad(following, (0, 0, 0, 1))
        y, state = linear_attention(
            q.flatten(1, 2),
            k.flatten(1, 2),
            (v * weight[:, :, None, :, None]).flatten(1, 2),
            state,
            log_decay=_to_rows(log_decay, rows).flatten(1, 2),
            starts=None if starts is None else _to_rows(starts, rows).flatten(1),
            chunk_size=chunk_size,
        )
        y = y.view(v.shape) + _own(q, k, v, now, weight)
    return y.to(dtype), state


def _own(q: Tensor, k: Tensor, v: Tensor, now: Tensor, weight: Tensor) -> Tensor:
    """The part of its own rows that a token sees, less the part that `linear_attention` let it see."""
    if v.shape[2] == 1:
        return ((q * k).sum(-1) * (now - weight)[:, :, None])[..., None] * v
    q, k, v = (x.transpose(2, 3) for x in (q, k, v))
    seen = torch.ones(q.shape[3], q.shape[3], dtype=q.dtype, device=q.device).tril()
    scores = (q @ k.mT) * (now[..., None, None] - weight[..., None, None] * seen)
    return (scores @ v).transpose(2, 3)


def _to_rows(x: Tensor, rows: int) -> Tensor:
    """`B T …` → `B T R …`: what holds at a token's first row, and zero at its others."""
    return torch.cat((x[:, :, None], x.new_zeros(*x.shape[:2], rows - 1, *x.shape[2:])), 2)
